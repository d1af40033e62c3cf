//! Whether everything that a room protects is sold.
//!
//! It is asked after each sale. A room is marked as unsure from before the
//! question until the line has heard the answer, so what failed on the way is
//! repeated; and every room that is not closed is asked about now and then, in
//! case nobody asked.

use std::sync::atomic::Ordering;

use super::error::EngineError;
use super::ticker::Engine;
use crate::domain::ids::RoomId;
use crate::store::rooms::RoomsError;

/// How often to ask again about rooms whose last answer is not known.
pub const SOLD_OUT_RETRY_MS: u64 = 1_000;
/// How often to ask about every room that is not closed.
pub const SOLD_OUT_CHECK_MS: u64 = 60_000;

impl Engine {
    /// Asks SQL, and says so to the line if that changed.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoom`], [`EngineError::Degraded`]; then it is
    /// asked again by [`Engine::repeat_sold_out_checks`].
    pub async fn refresh_sold_out(&self, id: &RoomId) -> Result<(), EngineError> {
        let room = self.rooms.get(id)?;
        let _one_at_a_time = room.switching.lock().await;
        let was_unsure = room.unsure_if_sold_out.swap(true, Ordering::SeqCst);
        // Read under the lock: an older answer must not overwrite a newer one.
        let sold_out = match self.registry.is_sold_out(id).await {
            // Forgotten meanwhile: nothing is for sale there.
            Err(RoomsError::UnknownRoom) => return Ok(()),
            sold_out => sold_out?,
        };
        let has_changed = room.record().switches.sold_out != sold_out;
        if has_changed {
            self.store_switches(&room, |switches| switches.sold_out = sold_out)
                .await?;
        }
        // The row may have changed before, and the queue not heard of it.
        if has_changed || was_unsure {
            self.configure_queue(&room).await?;
        }
        room.unsure_if_sold_out.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Asks again where it failed. The app's ticker calls it every
    /// [`SOLD_OUT_RETRY_MS`].
    pub async fn repeat_sold_out_checks(&self) {
        if self.is_degraded() {
            return;
        }
        for room in self.rooms.all() {
            if room.unsure_if_sold_out.load(Ordering::SeqCst) {
                self.check_sold_out(&room.id).await;
            }
        }
    }

    /// Asks about every room that is not closed. The app's ticker calls it every
    /// [`SOLD_OUT_CHECK_MS`].
    pub async fn check_all_sold_out(&self) {
        if self.is_degraded() {
            return;
        }
        for room in self.rooms.all() {
            if !room.record().switches.closed {
                self.check_sold_out(&room.id).await;
            }
        }
    }

    /// As [`Engine::refresh_sold_out`]; a failure is logged, and repeated.
    pub(super) async fn check_sold_out(&self, id: &RoomId) {
        if let Err(error) = self.refresh_sold_out(id).await {
            tracing::warn!(room.id = %id, error = %error, "sold out not rechecked");
        }
    }
}

#[cfg(test)]
mod tests;
