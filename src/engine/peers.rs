//! Several nodes, one queue: what others do to rooms, and how this node hears.
//!
//! The rows in SQL are the truth about which rooms there are and how they are
//! set. Whoever changes one says [`BusMessage::RoomChanged`]; everyone else
//! reads the row again, and all rows every few seconds, because the bus may
//! lose what was said. A delta of a room says that someone is in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::bus::{BusEvent, BusMessage};
use crate::domain::ids::RoomId;
use crate::store::rooms::{RoomRecord, RoomsError};

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// How often all rows are read.
pub const REREAD_MS: u64 = 2_000;
/// Rooms met side by side at the start.
const MEETINGS_MAX: usize = 16;
/// A room that cannot be read yet must not hold a start up.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(2);

impl Engine {
    /// The start of one of several nodes: rooms are rebuilt only if the queue
    /// does not have them. What the queue cannot say now it says later.
    pub(super) async fn meet_all(self: &Arc<Self>) -> Result<(), EngineError> {
        self.outlast_set_back().await?;
        let rooms = self.rooms.load().await?;
        for room in &rooms {
            // Others may be at it.
            room.give_rebuilder_time();
        }
        let met = stream::iter(rooms).map(|room| async move {
            self.outlive_if_behind(&room).await?;
            self.meet(room).await
        });
        let met = met.buffer_unordered(MEETINGS_MAX);
        let met: Vec<bool> = met.try_collect().await?;
        let unmet = met.iter().filter(|&&is_met| !is_met).count();
        if unmet > 0 {
            tracing::warn!(rooms.degraded = unmet, "started without the rooms' queue");
        }
        Ok(())
    }

    /// False: the queue is away. The room is followed all the same, and ticked
    /// until it answers.
    pub(super) async fn meet(self: &Arc<Self>, room: Arc<RoomHandle>) -> Result<bool, EngineError> {
        let counted = self
            .with_room(&room, |room_ref| {
                Box::pin(async move { self.queue.counts(&room_ref).await })
            })
            .await;
        // A tick says whether it is quiet.
        room.wake();
        match counted {
            Ok(_) => {
                self.follow(&room).await;
                Ok(true)
            }
            Err(EngineError::Degraded | EngineError::Rebuilding) => {
                room.note_away();
                let (readers, room_ref) = (Arc::clone(&self.readers), room.room_ref());
                self.tasks.spawn(async move {
                    // Whether it comes in time or later is all the same.
                    let followed = readers.follow(room_ref);
                    let _ = tokio::time::timeout(FOLLOW_PATIENCE, followed).await;
                });
                Ok(false)
            }
            // Forgotten since its row was read.
            Err(EngineError::Rooms(RoomsError::UnknownRoom)) => {
                self.drop_here(&room).await;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// The room's view of this epoch, if it can be had soon; else it comes.
    pub(super) async fn follow(&self, room: &RoomHandle) {
        let followed = self.readers.follow(room.room_ref());
        if tokio::time::timeout(FOLLOW_PATIENCE, followed)
            .await
            .is_err()
        {
            tracing::warn!(room.id = %room.id, "room not read yet");
        }
    }

    /// Tells the other nodes that a row changed.
    pub(super) fn announce(&self, room: &RoomId) {
        self.bus.publish(BusMessage::RoomChanged(room.clone()));
    }

    /// The same of a row that may protect something else now: the catalog says
    /// which room protects what.
    pub(super) fn announce_protection(&self, room: &RoomId) {
        self.announce(room);
        self.bus.publish(BusMessage::CatalogChanged);
    }

    /// What the bus brings of rooms. A node alone has nothing to hear.
    pub async fn heard(self: &Arc<Self>, event: BusEvent) {
        let done = match event {
            BusEvent::Message(BusMessage::Room(id, delta)) => {
                if let Ok(room) = self.rooms.get(&id) {
                    room.note_revision(delta.cursor);
                    let step = self.step.load(Ordering::Relaxed);
                    room.pace.look_by(step, self.settings.cadence);
                }
                Ok(())
            }
            BusEvent::Message(BusMessage::RoomChanged(id)) => self.reread(&id).await,
            BusEvent::Gap => self.reread_all().await,
            BusEvent::RoomGap(_)
            | BusEvent::Message(
                BusMessage::Seats { .. }
                | BusMessage::CatalogChanged
                | BusMessage::SoldOutTurned { .. }
                | BusMessage::CampaignChanged { .. },
            ) => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, "rooms of other nodes not read yet");
        }
    }

    async fn reread(self: &Arc<Self>, id: &RoomId) -> Result<(), EngineError> {
        match self.registry.room(id).await {
            Err(RoomsError::UnknownRoom) => {
                if let Ok(room) = self.rooms.get(id) {
                    self.let_go(&room).await;
                }
                Ok(())
            }
            record => self.learn(record?).await,
        }
    }

    /// # Errors
    /// [`EngineError::Degraded`]; call again.
    pub async fn reread_all(self: &Arc<Self>) -> Result<(), EngineError> {
        // Nodes of an older generation go on reading.
        let held = self.hold_generation().await;
        let known = self.rooms.all();
        let records = self.registry.rooms().await?;
        let is_there = |room: &RoomHandle| {
            let found = records.binary_search_by(|record| record.id.cmp(&room.id));
            found.is_ok()
        };
        // A room that was made meanwhile is not among those known.
        for gone in known.iter().filter(|room| !is_there(room)) {
            self.reread(&gone.id).await?;
        }
        for record in records {
            self.learn(record).await?;
        }
        self.sweep_behind().await;
        held
    }

    /// A row that another node, or a call that broke off, wrote.
    pub(super) async fn learn(self: &Arc<Self>, record: RoomRecord) -> Result<(), EngineError> {
        let Ok(room) = self.rooms.get(&record.id) else {
            let room = self.rooms.put_of_another(record);
            tracing::info!(room.id = %room.id, "room made by another node");
            return self.meet(room).await.map(drop);
        };
        let before = room.record();
        if record.created_at != before.created_at {
            // Another room, by the id of one that was forgotten.
            self.drop_here(&room).await;
            let room = self.rooms.put_of_another(record);
            return self.meet(room).await.map(drop);
        }
        if (record.epoch, record.version) <= (before.epoch, before.version) {
            return Ok(());
        }
        let is_rebuilt = record.epoch > before.epoch;
        room.update(record);
        if is_rebuilt {
            // The view of the new epoch has this node say its streams again.
            self.follow(&room).await;
        }
        room.wake();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
