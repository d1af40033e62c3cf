//! Forgetting what was consumed long ago.

use tokio::time::{Instant, sleep};

use crate::store::inbox::{Inbox, InboxError};

/// Notes forgotten by one unit: others wait for it.
pub const PRUNED_PER_UNIT: u32 = 2_000;

/// Forgets all notes that are older than so long, unit by unit, and rests after
/// each for as long as it took; answers how many.
///
/// # Errors
/// [`InboxError::Unavailable`] when SQL is away; the next one goes on.
pub async fn prune(inbox: &dyn Inbox, kept_ms: u64, per_unit: u32) -> Result<u64, InboxError> {
    let mut notes = 0;
    loop {
        let began = Instant::now();
        let pruned = inbox.prune_inbox(kept_ms, per_unit).await?;
        notes += pruned;
        // Another node may be at it.
        if pruned < u64::from(per_unit) {
            return Ok(notes);
        }
        sleep(began.elapsed()).await;
    }
}
