//! What business transactions left in the outbox, on its way out.
//!
//! The relay takes unpublished rows of its partitions, never by a cursor,
//! delivers them, and marks them: at least once, in order per aggregate. A sink
//! that is away holds everything back and blames no event; an event that waits
//! is put off, and its aggregate with it; one that the sink refuses is parked.
//!
//! Nothing waits for it: it is woken after a commit, and looks by itself every
//! [`LOOK_INTERVAL_MS`]. While the sink is away it looks less and less often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, sleep};

use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::metrics::{Metrics, RELAY_EVENTS};
use crate::store::outbox::{OUTBOX_PARTITIONS, Outbox, OutboxError, RetryPolicy, partition_of};

mod chain;
mod slots;
#[cfg(test)]
mod tests;

pub(super) use chain::hand_on;
pub use slots::SlotConsumer;

/// How often to look when nobody says that there is something.
pub const LOOK_INTERVAL_MS: u64 = 200;
/// Longest pause after a sink was away; pauses double up to it.
pub const AWAY_PAUSE_MAX_MS: u64 = 5_000;
/// Events taken at once, of all partitions.
const BATCH_EVENTS_MAX: u32 = 2_000;
/// How often to prune.
pub const PRUNE_INTERVAL_MS: u64 = 10_000;
/// Events looked at by one step: others wait for it.
const PRUNED_PER_STEP: u32 = 1_000;
/// After so many that came to the end, about a day, the whole table is walked
/// again: what stayed at first may have become free.
const PRUNES_PER_WALK: u64 = 8_640;
/// A relay that died gives its partitions back after this long. At least half
/// of it is left when a batch is claimed, and a sink answers sooner.
const PARTITION_LEASE_MS: u64 = 12_000;
/// How an event is put off that waits.
const PUT_OFF: RetryPolicy = RetryPolicy {
    back_off_ms: 500,
    back_off_max_ms: AWAY_PAUSE_MAX_MS,
    attempts_max: u32::MAX,
};
/// The relay of a process that has its database to itself: the next such
/// process goes on at once.
pub const ONLY_RELAY: u64 = 1;

/// What became of the events that a relay has handed over.
#[derive(Clone)]
struct Counters {
    taken: metrics::Counter,
    refused: metrics::Counter,
    later: metrics::Counter,
    waits: metrics::Counter,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let counter = |outcome| metrics.counter(&RELAY_EVENTS, &[outcome]);
        Self {
            taken: counter("taken"),
            refused: counter("refused"),
            later: counter("later"),
            waits: counter("waits"),
        }
    }
}

pub struct Relay {
    outbox: Arc<dyn Outbox>,
    sink: Arc<dyn EventSink>,
    /// This relay's life.
    id: u64,
    counters: Counters,
    /// Events up to here were looked at for pruning.
    pruned_to: AtomicU64,
    /// Prunings that came to the end since the last walk began.
    prunes: AtomicU64,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Events taken or parked.
    pub settled: usize,
    /// The sink did not take all it was handed.
    pub is_away: bool,
}

impl Relay {
    #[must_use]
    pub fn new(
        outbox: Arc<dyn Outbox>,
        sink: Arc<dyn EventSink>,
        id: u64,
        metrics: &Metrics,
    ) -> Self {
        Self {
            outbox,
            sink,
            id,
            counters: Counters::new(metrics),
            pruned_to: AtomicU64::new(0),
            prunes: AtomicU64::new(0),
        }
    }

    /// Takes one batch, of all partitions that nobody else serves.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when SQL is away.
    pub async fn step(&self) -> Result<Step, OutboxError> {
        let claimed = self
            .outbox
            .claim(self.id, PARTITION_LEASE_MS, BATCH_EVENTS_MAX);
        let batch = claimed.await?;
        if batch.is_empty() {
            return Ok(Step::default());
        }
        let delivery = self.sink.deliver(&batch).await;
        self.settle(batch, delivery).await
    }

    /// Deletes events that were published long ago, all of them; answers how many.
    /// Between two steps it rests for as long as one took. The app's ticker calls
    /// it every [`PRUNE_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when SQL is away; the next one goes on.
    pub async fn prune(&self) -> Result<u64, OutboxError> {
        let mut events = 0;
        loop {
            let began = Instant::now();
            let after = self.pruned_to.load(Ordering::Relaxed);
            let step = self.outbox.prune(after, PRUNED_PER_STEP).await?;
            events += step.events;
            self.pruned_to.store(step.next, Ordering::Relaxed);
            if step.is_end {
                let prunes = self.prunes.fetch_add(1, Ordering::Relaxed) + 1;
                if prunes.is_multiple_of(PRUNES_PER_WALK) {
                    self.pruned_to.store(0, Ordering::Relaxed);
                }
                return Ok(events);
            }
            sleep(began.elapsed()).await;
        }
    }

    /// Gives all partitions to whoever asks next: before a stop.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when SQL is away: others wait for the leases.
    pub async fn retire(&self) -> Result<(), OutboxError> {
        for partition in 0..OUTBOX_PARTITIONS {
            self.outbox.release(partition, self.id).await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        batch: Vec<OutboxEvent>,
        delivery: Delivery,
    ) -> Result<Step, OutboxError> {
        let Delivery { outcomes, trouble } = delivery;
        let (mut taken, mut refused, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut later = 0;
        let partitions: BTreeSet<u8> = batch
            .iter()
            .map(|event| partition_of(&event.aggregate))
            .collect();
        for (mut event, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Taken { route } => {
                    event.route = route;
                    taken.push(event);
                }
                Outcome::Refused(why) => refused.push((event, why)),
                Outcome::Later => later += 1,
                Outcome::Waits => waiting.push(event),
            }
        }
        self.outbox.mark_published(&taken).await?;
        self.outbox.put_off(&waiting, PUT_OFF).await?;
        for (event, why) in &refused {
            self.park(event, why).await?;
        }
        self.counters.taken.increment(taken.len() as u64);
        self.counters.refused.increment(refused.len() as u64);
        self.counters.later.increment(later);
        self.counters.waits.increment(waiting.len() as u64);
        let step = Step {
            settled: taken.len() + refused.len(),
            is_away: later > 0,
        };
        if step.is_away {
            let why = trouble.as_deref().unwrap_or_default();
            tracing::warn!(events = later, error = why, "events not taken yet");
        }
        if step.is_away && step.settled == 0 {
            // The sink may be away for this node alone.
            for partition in partitions {
                self.outbox.release(partition, self.id).await?;
            }
        }
        Ok(step)
    }

    /// A refused event is dead at once.
    async fn park(&self, event: &OutboxEvent, why: &str) -> Result<(), OutboxError> {
        let once = RetryPolicy {
            attempts_max: 1,
            ..RetryPolicy::default()
        };
        tracing::error!(event.id = %event.id, event.kind = %event.kind, error = why, "event refused");
        self.outbox.mark_failed(event, once).await.map(drop)
    }
}
