//! What people in line do: join, look, claim, leave.

use std::sync::Arc;

use crate::domain::access::ShownCode;
use crate::domain::ids::{ActivationId, LaneIndex, PlaceKey, RoomId, UserId};
use crate::domain::place::{EndReason, Place, Standing};
use crate::store::queue::{Presence, QueueError, Take, Taken};
use crate::store::rooms::{ActivationRow, ActivationState, Claimed, RoomsError};
use crate::truth::failpoint::Point;

use super::access::Admission;
use super::error::EngineError;
use super::recovery::{again_if_rebuilt, confirm_row};
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// Tries of a join that finds no reserved number, or a room that is opening.
const JOIN_ATTEMPTS_MAX: u32 = 50;

impl Engine {
    /// One live place per user: every join returns it, whatever code is shown.
    ///
    /// # Errors
    /// [`EngineError::AccessCodeInvalid`]; closed, sold out or full rooms;
    /// [`EngineError::Degraded`].
    pub async fn join(
        self: &Arc<Self>,
        room: &RoomId,
        user: &UserId,
        presented: Option<PlaceKey>,
        code: Option<&ShownCode>,
    ) -> Result<Taken, EngineError> {
        let room = self.serving(room)?;
        self.change_if_due(&room).await?;
        let mut take = Take {
            user: user.clone(),
            presented,
            issue_in: None,
            presence: self.call(),
        };
        match self.admit(&room, &take, code).await? {
            Admission::Has(taken) => return Ok(taken),
            Admission::In(lane) => take.issue_in = Some(lane),
        }
        for _attempt in 0..JOIN_ATTEMPTS_MAX {
            match self.take(&room, &take).await {
                Ok(taken) => return self.explain(&room, taken).await,
                Err(TakeError::Numbers { .. }) => self.reserve_for(&room, &take).await?,
                Err(TakeError::Opening) => tokio::task::yield_now().await,
                Err(TakeError::Engine(error)) => return Err(error),
            }
        }
        Err(EngineError::Rebuilding)
    }

    /// The place of a token whose holder asks for it, or opens a stream of it,
    /// in DEGRADED too: it is what the line last knew.
    /// Only the hub says that a stream is there: one that fails to open, or
    /// ends before the hub has told of it, would be believed in for ever.
    ///
    /// # Errors
    /// [`QueueError::UnknownPlace`] for a place this room never had.
    pub async fn place(
        self: &Arc<Self>,
        room: &RoomId,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<Taken, EngineError> {
        let room = self.showing(room)?;
        if !self.is_degraded() && !room.is_away() {
            self.change_if_due(&room).await?;
        }
        let take = Take {
            user: user.clone(),
            presented: Some(place),
            issue_in: None,
            presence: self.call(),
        };
        match self.take(&room, &take).await {
            Ok(taken) => self.explain(&room, taken).await,
            Err(TakeError::Engine(EngineError::Degraded)) if self.settings.is_shared => {
                self.last_known(&room, user, place).await
            }
            Err(TakeError::Engine(error)) => Err(error),
            Err(TakeError::Numbers { .. } | TakeError::Opening) => Err(EngineError::Rebuilding),
        }
    }

    /// The queue is away. The token says whose place it is; what became of it
    /// the view or its row.
    async fn last_known(
        &self,
        room: &RoomHandle,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<Taken, EngineError> {
        let standing = match self.readers.is_waiting(&room.id, place) {
            true => Standing::Waiting,
            false => match self.registry.activation_of(&room.id, place).await? {
                None => Standing::Waiting,
                Some(row) if row.user == *user => confirm_row(&row).standing,
                Some(_) => return Err(QueueError::UnknownPlace.into()),
            },
        };
        Ok(Taken {
            place: Place {
                key: place,
                user: user.clone(),
                standing,
            },
            needs_token: false,
        })
    }

    pub(super) async fn take(&self, room: &RoomHandle, take: &Take) -> Result<Taken, TakeError> {
        let taken = self
            .with_room(room, |room_ref| {
                Box::pin(
                    async move { pass_recover(self.queue.take(&room_ref, take.clone()).await) },
                )
            })
            .await
            .map_err(TakeError::Engine)?;
        match taken {
            Ok(taken) => {
                room.wake();
                Ok(taken)
            }
            Err(QueueError::NumbersExhausted { lane, reserve_to }) => {
                Err(TakeError::Numbers { lane, reserve_to })
            }
            Err(QueueError::Opening) => Err(TakeError::Opening),
            Err(error) => Err(TakeError::Engine(error.into())),
        }
    }

    /// Reserves numbers for a join that found none. One at a time per room:
    /// those who waited find it done.
    async fn reserve_for(&self, room: &RoomHandle, take: &Take) -> Result<(), EngineError> {
        let _one_at_a_time = room.reserving.lock().await;
        let Err(TakeError::Numbers { lane, reserve_to }) = self.take(room, take).await else {
            return Ok(());
        };
        let room_ref = room.room_ref();
        match self
            .registry
            .reserve_numbers(&room_ref, lane, reserve_to)
            .await
        {
            Err(RoomsError::Fenced) => room.update(self.registry.room(&room.id).await?),
            reserved_to => {
                let told = self.queue.reserve(&room_ref, lane, reserved_to?).await;
                again_if_rebuilt(told)?;
            }
        }
        Ok(())
    }

    /// The queue forgets why a place ended when it is rebuilt; the row does
    /// not.
    async fn explain(&self, room: &RoomHandle, mut taken: Taken) -> Result<Taken, EngineError> {
        if taken.place.standing.is_live() {
            return Ok(taken);
        }
        self.failpoints.hit(Point::EndLookedUp).await?;
        if let Some(row) = self
            .registry
            .activation_of(&room.id, taken.place.key)
            .await?
            && let ActivationState::Ended(reason) = row.state
        {
            taken.place.standing = Standing::Ended(reason);
        }
        Ok(taken)
    }

    /// Answers an activation: ACTIVATED → ACTIVE on the row alone, then the
    /// slot's expiry follows. In ACTIVE the same row again.
    ///
    /// # Errors
    /// `NotActivated`, `ActivationExpired`, `PassEnded`, `Degraded`.
    pub async fn claim(
        self: &Arc<Self>,
        room: &RoomId,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<ActivationRow, EngineError> {
        let room = self.rooms.get(room)?;
        let id = match self.registry.activation_of(&room.id, place).await? {
            Some(row) if row.user == *user => row.id,
            Some(_) => return Err(QueueError::UnknownPlace.into()),
            None => self.activation_of_survivor(&room, user, place).await?,
        };
        let ttl_ms = room.record().policy.pass_ttl_ms;
        match self.registry.claim_activation(id, ttl_ms).await? {
            Claimed::Active(row) => {
                self.failpoints.hit(Point::ClaimCommitted).await?;
                self.follow_claim(&room, &row).await;
                Ok(row)
            }
            Claimed::Late(row) => {
                self.free_quietly(&room, row.id, EndReason::Unclaimed).await;
                Err(EngineError::ActivationExpired)
            }
            Claimed::Ended(row) => match row.state {
                ActivationState::Ended(EndReason::Unclaimed) => Err(EngineError::ActivationExpired),
                _ => Err(EngineError::PassEnded),
            },
        }
    }

    /// The place has no row: it waits, is over, or was merged into another.
    async fn activation_of_survivor(
        self: &Arc<Self>,
        room: &RoomHandle,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<ActivationId, EngineError> {
        let taken = self.place(&room.id, user, place).await?;
        match taken.place.standing {
            Standing::Waiting => Err(EngineError::NotActivated),
            Standing::Activated { id, .. } | Standing::Active { id, .. } => Ok(id),
            Standing::Ended(EndReason::Unclaimed) => Err(EngineError::ActivationExpired),
            Standing::Ended(_) => Err(EngineError::PassEnded),
        }
    }

    /// The row is committed; a queue that cannot be told now asks when the
    /// claim window ends, and is told then.
    async fn follow_claim(&self, room: &RoomHandle, row: &ActivationRow) {
        let confirm = &confirm_row(row);
        let told = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.claim(&room_ref, confirm.clone()).await })
            })
            .await;
        room.wake();
        if let Err(error) = told {
            tracing::warn!(room.id = %room.id, error = %error, "claim not passed on yet");
        }
    }

    /// A merged place's token speaks for the user's surviving place.
    pub(super) async fn survivor(
        &self,
        room: &RoomHandle,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<PlaceKey, EngineError> {
        let take = Take {
            user: user.clone(),
            presented: Some(place),
            issue_in: None,
            presence: self.call(),
        };
        match self.take(room, &take).await {
            Ok(taken) => Ok(taken.place.key),
            Err(TakeError::Engine(error)) => Err(error),
            Err(TakeError::Numbers { .. } | TakeError::Opening) => Err(EngineError::Rebuilding),
        }
    }

    pub(super) async fn free_quietly(
        &self,
        room: &RoomHandle,
        id: ActivationId,
        reason: EndReason,
    ) {
        let freed = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.free(&room_ref, id, reason).await })
            })
            .await;
        room.wake();
        if let Err(error) = freed {
            tracing::warn!(room.id = %room.id, error = %error, "slot not freed yet");
        }
    }

    /// A call counts as presence for three polls.
    fn call(&self) -> Presence {
        Presence::Call {
            for_ms: 3 * self.settings.poll_after_ms,
        }
    }
}

/// What stands between a caller and a place.
pub(super) enum TakeError {
    Numbers { lane: LaneIndex, reserve_to: u64 },
    Opening,
    Engine(EngineError),
}

/// Leaves a room that is not there to the retry and hands every other refusal on as an answer.
fn pass_recover(
    answer: Result<Taken, QueueError>,
) -> Result<Result<Taken, QueueError>, QueueError> {
    match answer {
        Err(again @ (QueueError::Recover | QueueError::Building | QueueError::UnknownPlace)) => {
            Err(again)
        }
        answer => Ok(answer),
    }
}
