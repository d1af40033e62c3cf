//! Who may join a room, and in which lane.
//!
//! A code is redeemed in SQL before a number is issued: a crash between the two
//! leaves the code its user's, who shows it again. Whoever has a live place is
//! never asked for one, so a returning user neither needs nor spends a code.
//! What bounds guessing is the limit on `Join`s per user or address; a guess
//! that misses costs one read and no write.

use std::sync::Arc;

use crate::domain::access::{RoomAccess, ShownCode};
use crate::domain::ids::{LaneIndex, UserId};
use crate::store::queue::{QueueError, Take, Taken};

use super::error::EngineError;
use super::line::TakeError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// How a join goes on.
pub(super) enum Admission {
    /// The user has this live place.
    Has(Taken),
    /// A number may be issued in this lane.
    In(LaneIndex),
}

impl Engine {
    /// What `take`, which issues nothing, and the code say together.
    pub(super) async fn admit(
        self: &Arc<Self>,
        room: &RoomHandle,
        take: &Take,
        code: Option<&ShownCode>,
    ) -> Result<Admission, EngineError> {
        let record = room.record();
        let open_lane = match record.policy.access {
            RoomAccess::Open => record.policy.lane_without_codes(),
            RoomAccess::Code => None,
        };
        if let (None, Some(lane)) = (code, open_lane) {
            return Ok(Admission::In(lane));
        }
        match self.take(room, take).await {
            Ok(taken) if taken.place.standing.is_live() => return Ok(Admission::Has(taken)),
            Ok(_) | Err(TakeError::Engine(EngineError::Queue(QueueError::UnknownPlace))) => {}
            Err(TakeError::Engine(error)) => return Err(error),
            Err(TakeError::Numbers { .. } | TakeError::Opening) => {
                return Err(EngineError::Rebuilding);
            }
        }
        // A room that takes nobody spends no code.
        let switches = &room.record().switches;
        if switches.closed {
            return Err(QueueError::Closed.into());
        }
        if switches.sold_out {
            return Err(QueueError::SoldOut.into());
        }
        let lane = self.redeem(room, &take.user, code).await?;
        Ok(Admission::In(lane))
    }

    async fn redeem(
        &self,
        room: &RoomHandle,
        user: &UserId,
        code: Option<&ShownCode>,
    ) -> Result<LaneIndex, EngineError> {
        let Some(code) = code else {
            return Err(EngineError::AccessCodeInvalid);
        };
        let lane = self.registry.redeem_code(&room.id, code, user).await?;
        lane.ok_or(EngineError::AccessCodeInvalid)
    }
}
