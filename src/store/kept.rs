//! The seam to events that are kept for a consumer of this process, as a broker
//! would keep them: what it needs long for holds up no other consumer.
//!
//! Promises of every implementation:
//! - An event that was kept is answered until it is let go.
//! - Events of one aggregate are answered in the order of their versions.
//! - Keeping and letting go are idempotent. What was let go and is kept once more
//!   comes once more: the inbox knows it.
//! - They are answered to one holder at a time, by the database's clock.

use async_trait::async_trait;

use crate::bus::OutboxEvent;

use super::inbox::InboxError;

#[async_trait]
pub trait Kept: Send + Sync + 'static {
    /// Keeps a batch whole or not at all.
    async fn keep(&self, consumer: &str, events: &[OutboxEvent]) -> Result<(), InboxError>;

    /// The first of them, at most `events_max`; none while another holds the
    /// lease, which lasts for `lease_ms` from now on.
    async fn kept(
        &self,
        consumer: &str,
        holder: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, InboxError>;

    async fn let_go(&self, consumer: &str, events: &[OutboxEvent]) -> Result<(), InboxError>;

    /// How many there are, counted up to `count_max`.
    async fn count_kept(&self, consumer: &str, count_max: u32) -> Result<u64, InboxError>;
}
