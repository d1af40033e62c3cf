//! What operators do to a room: create, change, pause, close.

use std::sync::Arc;

use crate::domain::access::LaneCode;
use crate::domain::ids::RoomId;
use crate::domain::place::RoomSwitches;
use crate::domain::policy::{PolicyError, RoomPolicy, ServingOrder};
use crate::domain::time::UnixMs;
use crate::store::queue::RoomCounts;
use crate::store::rooms::codes::NewCodes;
use crate::store::rooms::{DrawRecord, NewRoom, RoomRecord, RoomsError};
use crate::store::sales::Asked;
use crate::truth::failpoint::Point;

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// Whoever knew it before the last number was given could choose theirs by it.
const BEACON_TOO_EARLY: PolicyError = PolicyError {
    field: "policy.draw_beacon.value",
    why: "is set after the room's opening",
};

impl Engine {
    /// # Errors
    /// [`EngineError::Policy`] for a field that cannot be; a room that exists;
    /// a target another room protects. `asked` is kept with the room.
    pub async fn create_room(
        self: &Arc<Self>,
        id: RoomId,
        display_name: String,
        policy: RoomPolicy,
        codes: Vec<LaneCode>,
        asked: Option<Asked>,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        policy.validate()?;
        let beacon = policy.draw_beacon.as_ref();
        if beacon.is_some_and(|beacon| beacon.value.is_some()) {
            return Err(BEACON_TOO_EARLY.into());
        }
        let new = NewRoom {
            id,
            display_name,
            policy,
            draw_secret: self.secret(),
            asked,
        };
        // To its end even if the caller goes away: a row that this node does
        // not know would guard seats that nobody can reach.
        let engine = Arc::clone(self);
        let codes = self.salted(codes);
        let made = self
            .tasks
            .spawn(async move { engine.make_room(new, codes).await });
        made.await.unwrap_or(Err(EngineError::Degraded))
    }

    async fn make_room(
        self: &Arc<Self>,
        new: NewRoom,
        codes: NewCodes,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        let id = new.id.clone();
        let record = match self.registry.create_room_with_codes(new, codes).await {
            Err(RoomsError::RoomExists) => {
                // Perhaps by a call whose caller went away, or one that is still
                // at it on another node: that one makes it.
                if self.rooms.get(&id).is_err() {
                    self.learn(self.registry.room(&id).await?).await?;
                }
                return Err(RoomsError::RoomExists.into());
            }
            record => record?,
        };
        self.serve_new(record).await
    }

    /// Whoever builds it, perhaps another node that read the row sooner: this
    /// one follows it.
    pub(super) async fn serve_new(
        self: &Arc<Self>,
        record: RoomRecord,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        let room = self.rooms.put(record);
        if !self.meet(Arc::clone(&room)).await? {
            return Err(EngineError::Degraded);
        }
        self.change_if_due(&room).await?;
        Ok(room)
    }

    fn salted(&self, codes: Vec<LaneCode>) -> NewCodes {
        NewCodes {
            codes,
            salt: self.secret(),
        }
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret);
        secret
    }

    /// Replaces name and policy if `record.version` is still the row's, and
    /// adds codes to those that its lanes have.
    ///
    /// # Errors
    /// [`EngineError::Policy`]: a field that cannot be, or that is fixed by
    /// now; [`crate::store::rooms::RoomsError::EtagMismatch`].
    pub async fn update_room(
        self: &Arc<Self>,
        changed: RoomRecord,
        codes: Vec<LaneCode>,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        changed.policy.validate()?;
        let room = self.rooms.get(&changed.id)?;
        let current = room.record();
        self.check_fixed_fields(&room, &current, &changed.policy)
            .await?;
        let changed = RoomRecord {
            switches: current.switches.clone(),
            draw: self.draw_of(&current, &changed.policy),
            epoch: current.epoch,
            ..changed
        };
        let codes = self.salted(codes);
        let record = self.registry.update_room_with_codes(changed, codes).await?;
        room.update(record);
        self.announce_protection(&room.id);
        self.failpoints.hit(Point::RowChanged).await?;
        self.configure_queue(&room).await?;
        // It may protect other seats now.
        self.refresh_sold_out(&room.id).await?;
        self.change_if_due(&room).await?;
        Ok(room)
    }

    /// A room that becomes a DRAW needs its secret before the first join.
    fn draw_of(&self, current: &RoomRecord, next: &RoomPolicy) -> Option<DrawRecord> {
        if current.draw.is_none() && next.order == ServingOrder::Draw {
            return Some(DrawRecord {
                secret: self.secret(),
                participants: Vec::new(),
            });
        }
        current.draw.clone()
    }

    /// What a change may not touch any more.
    async fn check_fixed_fields(
        &self,
        room: &RoomHandle,
        current: &RoomRecord,
        next: &RoomPolicy,
    ) -> Result<(), EngineError> {
        let refuse = |field, why| Err(PolicyError { field, why }.into());
        let before = &current.policy;
        if current.switches.opened && next.opens_at != before.opens_at {
            return refuse("policy.opens_at", "is fixed once the room has opened");
        }
        if next.order != before.order && self.has_places(room).await? {
            return refuse("policy.order", "is fixed once a place exists");
        }
        if !before.lanes_continue_in(next) {
            return refuse(
                "policy.lanes",
                "are only ever appended, and keep their names",
            );
        }
        if let (Some(then), Some(now)) = (&before.draw_beacon, &next.draw_beacon) {
            let is_drawn = current
                .draw
                .as_ref()
                .is_some_and(|draw| !draw.participants.is_empty());
            if then.description != now.description && self.has_places(room).await? {
                return refuse(
                    "policy.draw_beacon.description",
                    "is fixed once a place exists",
                );
            }
            if then.value.is_some() && then.value != now.value {
                return refuse("policy.draw_beacon.value", "is set once");
            }
            if now.value.is_some() && !is_drawn {
                return Err(BEACON_TOO_EARLY.into());
            }
        } else if before.draw_beacon.is_some() != next.draw_beacon.is_some()
            && self.has_places(room).await?
        {
            return refuse("policy.draw_beacon", "is fixed once a place exists");
        }
        Ok(())
    }

    async fn has_places(&self, room: &RoomHandle) -> Result<bool, EngineError> {
        let snapshot = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.snapshot(&room_ref).await })
            })
            .await?;
        Ok(snapshot.lanes.iter().any(|lane| lane.tail > 0))
    }

    /// Stops activation; joins go on. With `resumes_at` the room goes on by
    /// itself then.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoom`], [`EngineError::Degraded`].
    pub async fn pause_room(
        &self,
        id: &RoomId,
        message: Option<String>,
        resumes_at: Option<UnixMs>,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        let message = message.unwrap_or_default();
        self.change(id, |switches| switches.pause(message.clone(), resumes_at))
            .await
    }

    /// Lets activation go on; a time set for it no longer counts.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoom`], [`EngineError::Degraded`].
    pub async fn resume_room(
        &self,
        id: &RoomId,
        message: Option<String>,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        let message = message.unwrap_or_default();
        self.change(id, |switches| switches.resume(message.clone()))
            .await
    }

    /// Ends the line for ever; those who have a turn keep it.
    ///
    /// # Errors
    /// As [`Engine::pause_room`].
    pub async fn close_room(
        &self,
        id: &RoomId,
        message: Option<String>,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        self.change(id, |switches| {
            switches.closed = true;
            switches.message = message.clone().unwrap_or_default();
        })
        .await
    }

    async fn change(
        &self,
        id: &RoomId,
        change: impl Fn(&mut RoomSwitches) + Send,
    ) -> Result<Arc<RoomHandle>, EngineError> {
        let room = self.rooms.get(id)?;
        self.switch(&room, change).await?;
        Ok(room)
    }

    /// # Errors
    /// As [`Engine::pause_room`].
    pub async fn room_counts(&self, id: &RoomId) -> Result<RoomCounts, EngineError> {
        let room = self.rooms.get(id)?;
        self.with_room(&room, |room_ref| {
            Box::pin(async move { self.queue.counts(&room_ref).await })
        })
        .await
    }
}
