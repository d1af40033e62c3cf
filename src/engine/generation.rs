//! Two masters at once: which nodes may go on.
//!
//! When a master is cut off with some of the nodes, the Sentinels on the other
//! side promote a replica, and the nodes there rebuild the rooms in a new epoch.
//! The nodes with the old master then find rooms of another epoch than SQL's,
//! as after a loss, and would rebuild them in turn: an epoch after the other,
//! and nobody let in on either side. So the Sentinels' own count of failovers,
//! the *generation*, is held in SQL by a lease that a higher one takes from a
//! lower one. Nodes of a lower one rebuild nothing; their rooms are away.
//!
//! It is a lease, and not a fence: Sentinels that were set up anew count from
//! the beginning. What fences is the epoch.

use crate::domain::ids::RoomRef;
use crate::store::queue::QueueError;
use crate::store::rooms::RoomsError;

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

const LEASE: &str = "generation";
/// A few times [`super::peers::REREAD_MS`], which is how often it is renewed.
const LEASE_MS: u64 = 10_000;

impl Engine {
    /// Whether a room is lost, as the queue of now says: what one that was
    /// replaced meanwhile had said counts no more.
    ///
    /// # Errors
    /// [`EngineError::Degraded`] while nodes of a higher generation serve.
    pub(super) async fn is_lost(&self, room: &RoomHandle) -> Result<bool, EngineError> {
        if self.queue.generation().is_none() {
            return Ok(true);
        }
        self.hold_generation().await?;
        match self.queue.counts(&room.room_ref()).await {
            Err(QueueError::Recover) => Ok(true),
            counted => Ok(counted.map(|_| false)?),
        }
    }

    /// # Errors
    /// [`EngineError::Degraded`] while nodes of a higher generation serve.
    pub(super) async fn hold_generation(&self) -> Result<(), EngineError> {
        let Some(generation) = self.queue.generation() else {
            return Ok(());
        };
        match self.registry.outrank(LEASE, generation, LEASE_MS).await {
            Err(RoomsError::LeaseHeld) => {
                self.queue.look_again();
                Err(EngineError::Degraded)
            }
            held => Ok(held?),
        }
    }

    /// The room in the epoch that SQL has now. A queue that was left behind in
    /// an older one then answers so, instead of taking what never arrives.
    pub(super) async fn current(&self, room: &RoomHandle) -> Result<RoomRef, EngineError> {
        if self.queue.generation().is_some() {
            match self.registry.room(&room.id).await {
                // Forgotten: nothing of it is left to be behind.
                Err(RoomsError::UnknownRoom) => {}
                record => room.update(record?),
            }
        }
        Ok(room.room_ref())
    }
}
