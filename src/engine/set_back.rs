//! SQL that was set back: an older copy was restored, or a replica took over
//! that had not heard all, while the queue lived on.
//!
//! ```text
//! raise the mark in SQL ─→ leave it with the queue          every 2 s, by one node
//! the queue's is the higher one ─→ each room: its row catches up with the queue,
//!                                  then it is rebuilt from SQL in a new epoch
//! ```
//!
//! What the queue knows and SQL does not is not sold, not active and not over:
//! rows are the truth. But the numbers and epochs are out with people. So the
//! row of each room is first brought as far as its queue had gone, and no number
//! is ever given to another. The mark is raised last: whoever broke off has it
//! all done again.
//!
//! Up to four seconds may be missed by the mark. So at a start each room is compared
//! too: a row with fewer numbers reserved than its queue was allowed, or of an
//! earlier epoch, is behind, since SQL is always written first.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::RoomRef;
use crate::store::rooms::RoomsError;

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// Of all nodes that notice, one rebuilds the rooms.
const LEASE: &str = "set-back";
/// Longer than one room takes; renewed before each.
const LEASE_MS: u64 = 10_000;
/// Between looks whether another node is done.
const POLL: Duration = Duration::from_millis(100);
/// A start waits for so long.
const POLLS_MAX: u32 = 600;

impl Engine {
    /// Notices that SQL was set back, and mends it. The app calls it before it
    /// reads rooms.
    ///
    /// # Errors
    /// [`EngineError::Rebuilding`] while another node is at it;
    /// [`EngineError::Degraded`] while a store is away.
    pub async fn compare_marks(&self) -> Result<(), EngineError> {
        let mut last = self.rooms.comparing.lock().await;
        // The queue's first: SQL had it before.
        let left = self.queue.mark().await?;
        if left <= self.registry.mark().await? {
            // Another node raised it since this one looked: quiet nodes cost
            // the queue little.
            *last = match left > *last {
                true => left,
                false => self.raise_mark(left).await?,
            };
            return Ok(());
        }
        let me = self.settings.incarnation.0;
        self.hold_set_back(me).await?;
        // Whoever had the lease may have done it.
        let done = match left <= self.registry.mark().await? {
            true => Ok(()),
            false => self.outlive_all(me).await,
        };
        let done = match done {
            Ok(()) => self.raise_mark(left).await.map(|mark| *last = mark),
            failed => failed,
        };
        self.registry.release_lease(LEASE, me).await?;
        done
    }

    async fn raise_mark(&self, left: u64) -> Result<u64, EngineError> {
        let mark = self.registry.raise_mark(left).await?;
        self.queue.leave_mark(mark).await?;
        Ok(mark)
    }

    async fn hold_set_back(&self, me: u64) -> Result<(), EngineError> {
        match self.registry.lease(LEASE, me, LEASE_MS).await {
            Err(RoomsError::LeaseHeld) => Err(EngineError::Rebuilding),
            held => Ok(held?),
        }
    }

    async fn outlive_all(&self, me: u64) -> Result<(), EngineError> {
        let rooms = self.rooms.load().await?;
        tracing::error!(
            rooms.count = rooms.len(),
            "the database was set back: rooms are rebuilt from what it has"
        );
        for room in rooms {
            self.hold_set_back(me).await?;
            self.outlive(&room).await?;
        }
        Ok(())
    }

    /// A room that the queue does not have is found lost like any other.
    async fn outlive(&self, room: &RoomHandle) -> Result<(), EngineError> {
        let _one_at_a_time = room.rebuilding.lock().await;
        let Some(kept) = self.queue.kept(&room.id).await? else {
            return Ok(());
        };
        let row: RoomRef = match self.registry.catch_up(&room.id, &kept).await {
            // Someone raised it meanwhile, or it was forgotten.
            Err(RoomsError::Fenced | RoomsError::UnknownRoom) => return Ok(()),
            row => row?,
        };
        self.rebuild(room, row).await
    }

    /// At a start of one of several nodes, before rooms are served.
    pub(super) async fn outlast_set_back(&self) -> Result<(), EngineError> {
        for _look in 0..POLLS_MAX {
            match self.compare_marks().await {
                Err(EngineError::Rebuilding) => tokio::time::sleep(POLL).await,
                // Looked at again as soon as the queue is there.
                Err(EngineError::Degraded) => return Ok(()),
                compared => return compared,
            }
        }
        Err(EngineError::Rebuilding)
    }

    /// Rebuilds a room whose row is behind what the queue has; nothing while
    /// the queue is away.
    pub(super) async fn outlive_if_behind(
        &self,
        room: &Arc<RoomHandle>,
    ) -> Result<(), EngineError> {
        let Ok(Some(kept)) = self.queue.kept(&room.id).await else {
            return Ok(());
        };
        // Read after the queue's, and so never behind by chance.
        match self.registry.is_behind(&room.id, &kept).await {
            // Or it was forgotten.
            Ok(false) | Err(RoomsError::UnknownRoom) => return Ok(()),
            is_behind => is_behind?,
        };
        tracing::error!(room.id = %room.id, "the database is behind the room's queue");
        match self.outlive(room).await {
            Err(EngineError::Degraded | EngineError::Rebuilding) => Ok(()),
            outlived => outlived,
        }
    }
}
