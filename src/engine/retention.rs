//! Forgetting rooms that are over, so that Redis and the tables get small again.
//!
//! ```text
//! forget (SQL: the room is unknown from now on) ─→ queue.forget ─→ rows, in portions; the room's own last
//! ```
//!
//! The mark in SQL comes first: after it nobody can raise the room's epoch, so
//! nobody builds it in the queue again. The room's row goes last: while it is
//! there, every later pass finds the room and goes on, whatever became of the
//! one that began. So a Redis that is away loses nothing of it, and neither
//! does a killed node. One node at a time does it, by a lease; two at once would
//! do no harm.
//!
//! A node that was about to build the room as it was marked finds it missing at
//! the next look at all rooms, and removes what it has built: at once, or at a
//! later look, when the queue answers.

use std::sync::Arc;

use crate::domain::ids::RoomRef;
use crate::store::queue::QueueError;
use crate::store::rooms::RoomsError;
use crate::store::rooms::retention::{Deletion, Finished};

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// How often to look for rooms that are over.
pub const RETENTION_INTERVAL_MS: u64 = 30_000;
/// Of all nodes, one does it.
const LEASE: &str = "retention";
/// Longer than one room takes; renewed before each.
const LEASE_TTL_MS: u64 = 30_000;
/// Rooms that one pass forgets.
const ROOMS_MAX: u32 = 200;
/// Rows of one kind that one transaction deletes: others wait for it.
const ROWS_PER_STEP: u32 = 500;
/// Transactions for one room in one pass; the next pass goes on.
const STEPS_PER_ROOM_MAX: u32 = 400;

impl Engine {
    /// Forgets rooms that were closed `retain_ms` ago and in which nothing
    /// lives; answers how many are gone for good. The app's ticker calls it
    /// every [`RETENTION_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`EngineError::Degraded`] while SQL cannot be reached; call again.
    pub async fn forget_finished(&self, retain_ms: u64) -> Result<usize, EngineError> {
        if self.is_degraded() || self.is_retired() {
            return Ok(0);
        }
        // A read: a server with nothing to forget writes nothing.
        let finished = self.registry.finished_rooms(retain_ms, ROOMS_MAX).await?;
        if finished.is_empty() {
            return Ok(0);
        }
        let me = self.settings.incarnation.0;
        let mut gone = 0;
        for room in finished {
            match self.registry.lease(LEASE, me, LEASE_TTL_MS).await {
                Err(RoomsError::LeaseHeld) => return Ok(gone),
                leased => leased?,
            }
            match self.forget(&room, retain_ms).await {
                Ok(is_gone) => gone += usize::from(is_gone),
                Err(error) => {
                    tracing::warn!(room.id = %room.room.id, error = %error, "room not forgotten yet");
                }
            }
        }
        self.registry.release_lease(LEASE, me).await?;
        Ok(gone)
    }

    /// Whether nothing of it is left.
    async fn forget(&self, finished: &Finished, retain_ms: u64) -> Result<bool, EngineError> {
        let room = &finished.room;
        if !finished.is_forgotten {
            if self.has_turns(room).await? {
                return Ok(false);
            }
            self.registry.forget(room, retain_ms).await?;
            tracing::info!(room.id = %room.id, "room forgotten");
            self.announce_protection(&room.id);
        } else if self.registry.room(&room.id).await.is_ok() {
            // Gone since the list was read, and made anew: another room.
            return Ok(true);
        }
        if let Ok(here) = self.rooms.get(&room.id) {
            self.drop_here(&here).await;
        }
        self.queue.forget(room).await?;
        for _step in 0..STEPS_PER_ROOM_MAX {
            let deleted = self.registry.delete_forgotten(&room.id, ROWS_PER_STEP);
            match deleted.await? {
                Deletion::More => {}
                Deletion::Waits => return Ok(false),
                Deletion::Done => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether the queue has turns that no row tells of: picked, or not freed.
    async fn has_turns(&self, room: &RoomRef) -> Result<bool, EngineError> {
        match self.queue.counts(room).await {
            Ok(counts) => Ok(counts.granting + counts.activated + counts.active > 0),
            // Lost, and nobody came to ask for it.
            Err(QueueError::Recover) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// This node serves the room no more.
    pub(super) async fn drop_here(&self, room: &Arc<RoomHandle>) {
        self.rooms.remove(room);
        self.open_streams.forget(&room.id);
        self.readers.forget(room.id.clone()).await;
    }

    /// Another node forgot the room.
    pub(super) async fn let_go(&self, room: &Arc<RoomHandle>) {
        self.drop_here(room).await;
        // Perhaps this node built it after the others had removed it.
        self.rooms.leave_behind(room.room_ref());
        self.sweep_behind().await;
    }

    /// Removes from the queue what this node may have left there. What the queue
    /// does not hear now it is told at the next look at all rooms.
    pub(super) async fn sweep_behind(&self) {
        for room in self.rooms.left_behind() {
            let known = self.registry.room(&room.id).await;
            let swept = match known {
                // Made anew: a rebuild replaces what is there of the former.
                Ok(_) => Ok(()),
                Err(RoomsError::UnknownRoom) => match self.queue.forget(&room).await {
                    // Of a newer epoch, hence not built here.
                    Ok(()) | Err(QueueError::Recover) => Ok(()),
                    Err(error) => Err(EngineError::from(error)),
                },
                Err(error) => Err(error.into()),
            };
            if let Err(error) = swept {
                tracing::debug!(room.id = %room.id, error = %error, "room left in the queue");
                return;
            }
            self.rooms.note_swept(&room);
        }
    }
}

#[cfg(test)]
mod tests;
