//! The seam to the outbox as a relay sees it: events that committed and are
//! still to be published.
//!
//! A relay leases a partition, takes a batch, delivers it, and marks it; it
//! never keeps a cursor, so an event that commits late is never skipped.
//!
//! Promises of every implementation, held by `store::outbox::conformance`:
//! - An event is answered until it is marked published, or is dead.
//! - Events of one aggregate are answered in the order of their versions. One
//!   that failed holds back the later ones of its aggregate, and no others,
//!   until it is published or dead.
//! - A partition is answered to one relay at a time, by the database's clock.
//! - Marking is idempotent, and a published event stays published.
//! - An event is answered with the route by which the last published one of its
//!   aggregate went, whatever became of those between them.
//! - Only events that were published longer than [`PUBLISHED_KEPT_MS`] ago are
//!   ever deleted, and versions go on where they were: so the last event of an
//!   aggregate that may have another (a reservation, a performance) is kept for
//!   ever, whatever its age.

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::bus::OutboxEvent;
use crate::domain::time::UnixMs;

#[cfg(test)]
pub mod conformance;

/// Shares of the outbox that relays lease one by one; to change it would
/// re-order events that wait.
pub const OUTBOX_PARTITIONS: u8 = 16;

/// How long a published event is kept, for those who ask what was sent.
pub const PUBLISHED_KEPT_MS: u64 = 7 * 86_400_000;

/// The partition an aggregate's events always go to.
#[must_use]
pub fn partition_of(aggregate: &str) -> u8 {
    Sha256::digest(aggregate)[0] % OUTBOX_PARTITIONS
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Another relay serves this partition.
    #[error("another relay has the lease of partition {partition}")]
    LeaseHeld { partition: u8 },
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// How often, and how far apart, one event is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After the first failure; doubles with each.
    pub back_off_ms: u64,
    pub back_off_max_ms: u64,
    /// Failures after which an event is dead.
    pub attempts_max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            back_off_ms: 1_000,
            back_off_max_ms: 30_000,
            attempts_max: 5,
        }
    }
}

impl RetryPolicy {
    /// The pause after this many failures; `None`: no further attempt.
    #[must_use]
    pub fn pause_ms(&self, failures: u32) -> Option<u64> {
        if failures >= self.attempts_max {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(32);
        let pause_ms = self.back_off_ms.saturating_mul(1 << doublings);
        Some(pause_ms.min(self.back_off_max_ms))
    }
}

/// What became of an event that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It is answered again from then on.
    RetryAt(UnixMs),
    /// It is parked for an operator: raise an alert.
    Dead,
    /// It had been published, was dead, or is unknown: nothing was changed.
    Settled,
}

/// Events of one partition that are counted one by one.
pub const COUNTED_MAX: u32 = 1_000;

/// What waits, for metrics and alerts. It costs little however much waits:
/// beyond [`COUNTED_MAX`] counts are estimates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Of many: at most as many as were left since the oldest of them.
    pub pending: u64,
    /// At most [`COUNTED_MAX`].
    pub dead: u64,
    /// When the oldest pending event was left.
    pub oldest: Option<UnixMs>,
}

/// What one step of pruning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub events: u64,
    /// Where the next step goes on.
    pub next: u64,
    /// Nothing behind it may be deleted yet.
    pub is_end: bool,
}

#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Of every partition that no other relay has: takes its lease for `relay`,
    /// or renews it when half of it is over, and answers the oldest events that
    /// may be delivered now, at most `events_max` in all, each with the route of
    /// the last one of its aggregate. The caller delivers them in this order
    /// within half of `lease_ms`. Costs little while there are none.
    async fn claim(
        &self,
        relay: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError>;

    /// The same of one partition.
    async fn claim_batch(
        &self,
        partition: u8,
        relay: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError>;

    /// These events were taken by the sink, by the routes they carry.
    async fn mark_published(&self, events: &[OutboxEvent]) -> Result<(), OutboxError>;

    /// The sink failed on this event. Not for a sink that is down: then no
    /// event is at fault, and the relay waits with all of them.
    async fn mark_failed(
        &self,
        event: &OutboxEvent,
        retry: RetryPolicy,
    ) -> Result<Failed, OutboxError>;

    /// These wait for what they are about, and are answered again after a pause
    /// that grows with each time; later ones of their aggregates wait with them.
    /// They never die of it, whatever `retry` says.
    async fn put_off(&self, events: &[OutboxEvent], retry: RetryPolicy) -> Result<(), OutboxError>;

    /// Gives the partition to whoever asks next, if `relay` has it.
    async fn release(&self, partition: u8, relay: u64) -> Result<(), OutboxError>;

    /// Deletes what may be deleted among the next `rows_max` events behind the
    /// mark `after`; the first step begins at 0.
    async fn prune(&self, after: u64, rows_max: u32) -> Result<Pruned, OutboxError>;

    /// Dead events behind the id `after`, in the order of their ids.
    async fn dead(&self, after: u64, events_max: u32) -> Result<Vec<OutboxEvent>, OutboxError>;

    /// A dead event is over as if it had been published; whether it was dead.
    async fn discard_dead(&self, event_id: &str) -> Result<bool, OutboxError>;

    /// Dead events wait again, as if they had never been tried; answers how many.
    async fn revive(&self) -> Result<u64, OutboxError>;

    async fn backlog(&self) -> Result<Backlog, OutboxError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let retry = RetryPolicy {
            back_off_ms: 100,
            back_off_max_ms: 350,
            attempts_max: 5,
        };
        let pauses: Vec<_> = (1..=5).map(|failures| retry.pause_ms(failures)).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(350), Some(350), None]);
        let patient = RetryPolicy {
            attempts_max: u32::MAX,
            ..retry
        };
        assert_eq!(patient.pause_ms(1_000_000), Some(350));
    }

    #[test]
    fn aggregates_spread_over_all_partitions() {
        let mut seen = [0_u32; OUTBOX_PARTITIONS as usize];
        for n in 0..1_600 {
            seen[usize::from(partition_of(&format!("reservation:{n}")))] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
