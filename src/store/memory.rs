//! The embedded queue store: every room is a [`Room`] behind a lock.
//!
//! It keeps nothing on disk. Its rooms are rebuilt from SQL when the process
//! starts, by the same recovery as after a loss of Redis.
//!
//! Invariants: a delta is published while its room is locked, so deltas leave in
//! the order of their revisions; the clock is read under that lock, so a room
//! sees its times in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;

use crate::bus::{BusMessage, EventBus};
use crate::clock::Clock;
use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::domain::ids::{
    ActivationId, Cursor, Incarnation, LaneIndex, Number, PlaceKey, RoomId, RoomRef, UserId,
};
use crate::domain::place::{EndReason, Place, RoomSwitches};
use crate::domain::policy::RoomPolicy;
use crate::domain::room::Room;

use super::queue::{
    Built, Confirm, DepartedPage, GrantOutcome, LaneOpening, LeaveOutcome, QueueError, QueueStore,
    RoomCounts, RoomInit, Strain, Take, Taken, Tick,
};

/// All rooms of one process.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    bus: Arc<dyn EventBus>,
    rooms: RwLock<HashMap<RoomId, Arc<Mutex<Room>>>>,
}

impl MemoryQueue {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, bus: Arc<dyn EventBus>) -> Self {
        Self {
            clock,
            bus,
            rooms: RwLock::default(),
        }
    }

    /// Runs one step on a room of the right epoch and publishes what `step`
    /// sealed.
    fn step<T>(
        &self,
        room: &RoomRef,
        step: impl FnOnce(&mut Room) -> Result<(T, Option<Arc<RoomDelta>>), QueueError>,
    ) -> Result<T, QueueError> {
        let shared = self
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&room.id)
            .cloned()
            .ok_or(QueueError::Recover)?;
        let mut machine = lock(&shared);
        if machine.epoch() != room.epoch {
            return Err(QueueError::Recover);
        }
        let (answer, sealed) = step(&mut machine)?;
        if let Some(delta) = sealed {
            self.bus.publish(BusMessage::Room(room.id.clone(), delta));
        }
        Ok(answer)
    }

    /// A step whose changes travel with the next tick.
    fn quietly<T>(
        &self,
        room: &RoomRef,
        step: impl FnOnce(&mut Room) -> T,
    ) -> Result<T, QueueError> {
        self.step(room, |machine| Ok((step(machine), None)))
    }

    /// A step whose changes are published at once.
    fn aloud<T>(&self, room: &RoomRef, step: impl FnOnce(&mut Room) -> T) -> Result<T, QueueError> {
        self.step(room, |machine| {
            let answer = step(machine);
            Ok((answer, machine.publish()))
        })
    }
}

/// A step that panicked is a bug; its room goes on as it is.
fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl QueueStore for MemoryQueue {
    async fn take(&self, room: &RoomRef, take: Take) -> Result<Taken, QueueError> {
        self.quietly(room, |machine| machine.take(&take, self.clock.now()))?
            .map_err(QueueError::from)
    }

    async fn leave(
        &self,
        room: &RoomRef,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<LeaveOutcome, QueueError> {
        self.quietly(room, |machine| machine.leave(place, user, self.clock.now()))?
            .map_err(QueueError::from)
    }

    async fn find(&self, room: &RoomRef, user: &UserId) -> Result<Option<Place>, QueueError> {
        self.quietly(room, |machine| machine.find(user))
    }

    async fn tick(&self, room: &RoomRef, node: Option<Incarnation>) -> Result<Tick, QueueError> {
        self.step(room, |machine| {
            let mut tick = machine.tick(self.clock.now(), node);
            let sealed = match machine.publish_is_due() {
                true => machine.publish(),
                false => None,
            };
            tick.cursor = machine.cursor();
            tick.quiet = machine.is_quiet();
            Ok((tick, sealed))
        })
    }

    async fn steer(&self, room: &RoomRef, strain: Strain) -> Result<f64, QueueError> {
        self.quietly(room, |machine| machine.steer(&strain, self.clock.now()))
    }

    async fn grant_place(
        &self,
        room: &RoomRef,
        user: &UserId,
        issue_in: LaneIndex,
    ) -> Result<GrantOutcome, QueueError> {
        self.quietly(room, |machine| {
            machine.grant_place(user, issue_in, self.clock.now())
        })?
        .map_err(QueueError::from)
    }

    async fn confirm(
        &self,
        room: &RoomRef,
        rows: Vec<Confirm>,
    ) -> Result<Vec<ActivationId>, QueueError> {
        self.aloud(room, |machine| machine.confirm(&rows, self.clock.now()))
    }

    async fn claim(&self, room: &RoomRef, row: Confirm) -> Result<(), QueueError> {
        self.quietly(room, |machine| machine.claim(&row, self.clock.now()))
    }

    async fn rearm(
        &self,
        room: &RoomRef,
        id: ActivationId,
        remaining_ms: u64,
    ) -> Result<(), QueueError> {
        self.quietly(room, |machine| {
            machine.rearm(id, remaining_ms, self.clock.now())
        })
    }

    async fn free(
        &self,
        room: &RoomRef,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), QueueError> {
        self.quietly(room, |machine| machine.free(id, reason, self.clock.now()))
    }

    async fn present(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError> {
        self.quietly(room, |machine| {
            machine.present(&places, owner, self.clock.now())
        })
    }

    async fn absent(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError> {
        self.quietly(room, |machine| {
            for (place, user) in places {
                machine.absent(place, &user, owner);
            }
        })
    }

    async fn freeze(&self, room: &RoomRef) -> Result<Vec<Number>, QueueError> {
        self.quietly(room, Room::freeze)
    }

    async fn open(&self, room: &RoomRef, lanes: Vec<LaneOpening>) -> Result<(), QueueError> {
        self.aloud(room, |machine| machine.open(&lanes, self.clock.now()))
    }

    async fn configure(
        &self,
        room: &RoomRef,
        version: u64,
        policy: Arc<RoomPolicy>,
        switches: RoomSwitches,
    ) -> Result<(), QueueError> {
        self.aloud(room, |machine| {
            machine.follow(version, (policy, switches), self.clock.now())
        })
    }

    async fn reserve(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        reserved_to: Number,
    ) -> Result<(), QueueError> {
        self.quietly(room, |machine| machine.reserve(lane, reserved_to))?
            .map_err(QueueError::from)
    }

    async fn init(&self, room: &RoomRef, init: RoomInit) -> Result<Built, QueueError> {
        let made = Arc::new(Mutex::new(Room::init(room.epoch, init, self.clock.now())));
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = rooms
            .get(&room.id)
            .is_none_or(|there| lock(there).epoch() < room.epoch);
        if !is_newer {
            return Ok(Built::Kept);
        }
        rooms.insert(room.id.clone(), made);
        Ok(Built::Made)
    }

    async fn snapshot(&self, room: &RoomRef) -> Result<RoomSnapshot, QueueError> {
        self.step(room, |machine| {
            let sealed = machine.publish();
            Ok((machine.snapshot(), sealed))
        })
    }

    async fn deltas_since(
        &self,
        room: &RoomRef,
        cursor: Cursor,
    ) -> Result<Option<Vec<Arc<RoomDelta>>>, QueueError> {
        self.quietly(room, |machine| machine.deltas_since(cursor))
    }

    async fn departed_pages(
        &self,
        room: &RoomRef,
        revision: u64,
    ) -> Result<(u64, Vec<DepartedPage>), QueueError> {
        self.quietly(room, |machine| machine.departed_pages(revision))
    }

    async fn counts(&self, room: &RoomRef) -> Result<RoomCounts, QueueError> {
        self.quietly(room, |machine| machine.counts())
    }

    async fn forget(&self, room: &RoomRef) -> Result<(), QueueError> {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let there = rooms.get(&room.id).map(|there| lock(there).epoch());
        match there {
            Some(epoch) if epoch > room.epoch => Err(QueueError::Recover),
            Some(_) => {
                rooms.remove(&room.id);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::local::LocalBus;
    use crate::clock::ManualClock;
    use crate::domain::time::UnixMs;
    use crate::store::queue::conformance::{Rig, queue_store_conformance};

    async fn open() -> Rig {
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let bus = Arc::new(LocalBus::default());
        let subscription = bus.subscribe().await.unwrap();
        Rig {
            store: Arc::new(MemoryQueue::new(Arc::clone(&clock) as _, bus)),
            clock,
            bus: subscription,
        }
    }

    queue_store_conformance!(open);
}
