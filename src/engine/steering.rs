//! Tells rooms how strained the sale is, so that their rates give way.
//!
//! Every node speaks for itself; the room takes the worst word
//! ([`crate::domain::room::steering`]). A word that is lost is followed by
//! another, and a room that is quiet needs none. A room that was never told in
//! its epoch, or was quiet, is told before it is ticked: else it would begin at
//! its whole rate.

use std::sync::PoisonError;

use futures_util::future::join_all;

use crate::domain::ids::RoomId;
use crate::store::queue::Strain;

use super::rooms::RoomHandle;
use super::ticker::Engine;

/// How often a node speaks: twice in each decision of a room.
pub const STEER_INTERVAL_MS: u64 = 500;

impl Engine {
    /// What this node says from now on. Until it says something, rooms keep
    /// their rates.
    pub fn set_strain(&self, strain: Strain) {
        let mut current = self.strain.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(strain);
    }

    fn strain(&self) -> Option<Strain> {
        *self.strain.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every room that is not quiet; answers their rates in effect.
    pub async fn steer_rooms(&self) -> Vec<(RoomId, f64)> {
        if self.is_degraded() || self.is_retired() {
            return Vec::new();
        }
        let rooms = self.rooms.all().into_iter();
        let steered = rooms.filter(|room| !room.is_quiet());
        let steered = steered.map(|room| async move {
            let rate_per_s = self.steer(&room).await?;
            Some((room.id.clone(), rate_per_s))
        });
        join_all(steered).await.into_iter().flatten().collect()
    }

    pub(super) async fn steer_first(&self, room: &RoomHandle) {
        if !room.was_steered(room.record().epoch) {
            self.steer(room).await;
        }
    }

    async fn steer(&self, room: &RoomHandle) -> Option<f64> {
        let strain = self.strain()?;
        let room_ref = room.room_ref();
        // What an error means, the tick finds out.
        let rate_per_s = self.queue.steer(&room_ref, strain).await.ok()?;
        room.note_steered(room_ref.epoch);
        Some(rate_per_s)
    }
}

#[cfg(test)]
mod tests;
