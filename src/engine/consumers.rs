//! Consumers of events: what happens because something happened, and never
//! holds up what happened.
//!
//! Events come at least once and in order per aggregate, from the relay of this
//! process ([`ConsumerSink`]) or from a broker ([`run`]). A consumer takes a
//! batch at a time; its effects and the note in its inbox are one transaction.
//! - A consumer that is away, or takes too long, gets the same events again
//!   after a pause that doubles, for as long as it takes: that is no event's
//!   fault. One that takes too long by itself lets the others go first.
//! - An event that fails holds back the later ones of its aggregate and no
//!   others of its batch; after `attempts_max` it is parked, and they go on.
//! - An event that can never be consumed is parked at once.
//!
//! A parked event is a row that an operator redrives, a metric to alert on and,
//! with Kafka, a message in the consumer's topic of dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::Counter;
use tokio::time::timeout;

use crate::bus::{DeadLetters, EventSource, OutboxEvent};
use crate::metrics::{CONSUMER_EVENTS, CONSUMER_RETRIES, Metrics};
use crate::store::inbox::{Coming, Inbox, InboxError};
use crate::store::outbox::RetryPolicy;

mod data_platform;
mod kept;
mod notifier;
mod projector;
mod prune;
mod receiver;
mod redrive;
mod sink;
#[cfg(test)]
mod tests;

pub use data_platform::{CLOUD_EVENT, DataPlatform};
pub use kept::{Keeper, KeptSource};
pub use notifier::Notifier;
pub use projector::{Projector, projectors};
pub use prune::{PRUNED_PER_UNIT, prune};
pub use receiver::{Post, PostError};
pub use redrive::{Redriven, redrive};
pub use sink::ConsumerSink;

/// Longest kept of what someone said of a failure.
const WHY_CHARS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// This event will never be consumed.
    #[error("event {id} cannot be consumed: {why}")]
    Refused { id: String, why: String },
    /// This event failed, perhaps not for ever.
    #[error("event {id} failed: {why}")]
    Failed { id: String, why: String },
    /// No event is at fault.
    #[error("{0}")]
    Unavailable(String),
}

impl From<InboxError> for ConsumeError {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Refused { id, why } => Self::Refused { id, why },
            InboxError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// Names its inbox, its group and its metrics; never changed.
    fn name(&self) -> &'static str;

    fn wants(&self, kind: &str) -> bool;

    /// Consumes a batch whole or not at all, each event once however often it
    /// comes; answers how many had not come before. After an error of one event
    /// the others come again.
    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError>;
}

/// How consumers are run.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerSettings {
    pub batch_events_max: usize,
    pub retry: RetryPolicy,
    pub apply_timeout_ms: u64,
}

/// A consumer with what becomes of its failures.
pub struct Consuming {
    consumer: Arc<dyn Consumer>,
    inbox: Arc<dyn Inbox>,
    letters: Option<Arc<dyn DeadLetters>>,
    settings: ConsumerSettings,
    applied: Counter,
    duplicates: Counter,
    parked: Counter,
    retries: Counter,
}

/// What was tried before with the events at hand.
#[derive(Debug, Default)]
struct Tried {
    /// Failures by event that is not settled yet.
    failures: BTreeMap<String, u32>,
    /// Aggregates that wait behind an event that failed or took too long.
    aside: BTreeSet<String>,
    /// Times in a row that nothing could be done.
    stalls: u32,
    /// Events at once, after more took too long; 0: as many as may be.
    fewer: usize,
}

/// What one attempt came to.
struct Attempt {
    /// Ids of events that need nothing more.
    settled: BTreeSet<String>,
    /// How long to wait before the next one, if some are left.
    pause: Duration,
}

impl Consuming {
    #[must_use]
    pub fn new(
        consumer: Arc<dyn Consumer>,
        inbox: Arc<dyn Inbox>,
        letters: Option<Arc<dyn DeadLetters>>,
        settings: ConsumerSettings,
        metrics: &Metrics,
    ) -> Self {
        let name = consumer.name();
        let counter = |outcome| metrics.counter(&CONSUMER_EVENTS, &[name, outcome]);
        Self {
            applied: counter("applied"),
            duplicates: counter("duplicate"),
            parked: counter("parked"),
            retries: metrics.counter(&CONSUMER_RETRIES, &[name]),
            consumer,
            inbox,
            letters,
            settings,
        }
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.consumer.name()
    }

    fn wants(&self, event: &OutboxEvent) -> bool {
        self.consumer.wants(&event.kind)
    }

    /// Hands over those of `pending` that need not wait, once.
    async fn attempt(&self, pending: &[OutboxEvent], tried: &mut Tried) -> Attempt {
        let batch = self.choose(pending, tried);
        let within = Duration::from_millis(self.settings.apply_timeout_ms);
        let consumed = timeout(within, self.consumer.consume(&batch, Coming::Fresh)).await;
        let mut settled = BTreeSet::new();
        let mut pause = Duration::ZERO;
        match consumed {
            Ok(Ok(fresh)) => {
                self.applied.increment(fresh as u64);
                self.duplicates.increment((batch.len() - fresh) as u64);
                settled.extend(batch.iter().map(|event| event.id.clone()));
                tried.stalls = 0;
                tried.fewer = tried.fewer.saturating_mul(2);
            }
            Ok(Err(ConsumeError::Unavailable(why))) => pause = self.stall(tried, &why),
            Ok(Err(ConsumeError::Refused { id, why })) => {
                pause = self.park(&batch, &id, &why, tried, &mut settled).await;
            }
            Ok(Err(ConsumeError::Failed { id, why })) => {
                pause = self.fail(&batch, &id, &why, tried, &mut settled).await;
            }
            Err(_) if batch.len() > 1 => {
                // Perhaps it is only much.
                tried.fewer = batch.len().div_ceil(2);
                self.retries.increment(1);
            }
            Err(_) => {
                // It waited for a lock or a server.
                let late = batch.iter().map(|event| event.aggregate.clone());
                tried.aside.extend(late);
                let why = format!("it took longer than {} ms", within.as_millis());
                pause = self.stall(tried, &why);
            }
        }
        tried.failures.retain(|id, _| !settled.contains(id));
        let goes_on = |event: &OutboxEvent| {
            !settled.contains(&event.id) && !tried.aside.contains(&event.aggregate)
        };
        if pause.is_zero() && !pending.iter().any(goes_on) {
            pause = self.pause_of_failures(tried);
        }
        Attempt { settled, pause }
    }

    /// In order, without those set aside, unless there are no others.
    fn choose(&self, pending: &[OutboxEvent], tried: &mut Tried) -> Vec<OutboxEvent> {
        if pending
            .iter()
            .all(|event| tried.aside.contains(&event.aggregate))
        {
            tried.aside.clear();
        }
        let most = match tried.fewer {
            0 => self.settings.batch_events_max,
            fewer => fewer.min(self.settings.batch_events_max),
        };
        let free = pending
            .iter()
            .filter(|event| !tried.aside.contains(&event.aggregate));
        free.take(most).cloned().collect()
    }

    fn stall(&self, tried: &mut Tried, why: &str) -> Duration {
        tried.stalls = tried.stalls.saturating_add(1);
        self.retries.increment(1);
        tracing::warn!(
            consumer = self.name(),
            error = why,
            "events not consumed yet"
        );
        let patient = RetryPolicy {
            attempts_max: u32::MAX,
            ..self.settings.retry
        };
        let pause_ms = patient.pause_ms(tried.stalls.min(u32::MAX - 1));
        Duration::from_millis(pause_ms.unwrap_or(patient.back_off_max_ms))
    }

    fn pause_of_failures(&self, tried: &Tried) -> Duration {
        let failures = tried.failures.values().copied().max().unwrap_or_default();
        let pause_ms = self.settings.retry.pause_ms(failures).unwrap_or_default();
        Duration::from_millis(pause_ms)
    }

    /// An event failed once more.
    async fn fail(
        &self,
        batch: &[OutboxEvent],
        id: &str,
        why: &str,
        tried: &mut Tried,
        settled: &mut BTreeSet<String>,
    ) -> Duration {
        let failures = tried.failures.entry(id.to_owned()).or_default();
        *failures += 1;
        if self.settings.retry.pause_ms(*failures).is_none() {
            return self.park(batch, id, why, tried, settled).await;
        }
        self.retries.increment(1);
        tracing::warn!(
            consumer = self.name(),
            event.id = id,
            error = why,
            "event failed"
        );
        let aggregates = batch.iter().filter(|event| event.id == id);
        tried
            .aside
            .extend(aggregates.map(|event| event.aggregate.clone()));
        Duration::ZERO
    }

    async fn park(
        &self,
        batch: &[OutboxEvent],
        id: &str,
        why: &str,
        tried: &mut Tried,
        settled: &mut BTreeSet<String>,
    ) -> Duration {
        let Some(event) = batch.iter().find(|event| event.id == id) else {
            return self.stall(tried, "it speaks of an event that it was not given");
        };
        if let Err(trouble) = self.give_up(event, why).await {
            return self.stall(tried, &trouble);
        }
        settled.insert(id.to_owned());
        Duration::ZERO
    }

    /// Parks an event: first where it counts, then where others see it, once.
    /// A crash in between leaves no letter: the row is what is redriven.
    async fn give_up(&self, event: &OutboxEvent, why: &str) -> Result<(), String> {
        let why: String = why.chars().take(WHY_CHARS_MAX).collect();
        let parked = self.inbox.park(self.name(), event, &why).await;
        if !parked.map_err(|error| error.to_string())? {
            return Ok(());
        }
        self.parked.increment(1);
        tracing::error!(
            consumer = self.name(), event.id = %event.id, event.kind = %event.kind,
            error = %why, "event parked"
        );
        if let Some(letters) = &self.letters
            && let Err(trouble) = letters.put(self.name(), event, &why).await
        {
            tracing::warn!(event.id = %event.id, error = %trouble, "no dead letter published");
        }
        Ok(())
    }
}

/// Consumes what a source brings, until the future is dropped: at any point,
/// since nothing is committed before it was consumed.
pub async fn run(consuming: &Consuming, source: &mut dyn EventSource) {
    loop {
        let arrivals = source.next(consuming.settings.batch_events_max).await;
        let mut pending = Vec::with_capacity(arrivals.len());
        let mut unreadable = Vec::new();
        for arrival in arrivals {
            match arrival.unreadable {
                Some(why) => unreadable.push((arrival.event, why)),
                None if consuming.wants(&arrival.event) => pending.push(arrival.event),
                None => {}
            }
        }
        let mut tried = Tried::default();
        while let Some((event, why)) = unreadable.pop() {
            if let Err(trouble) = consuming.give_up(&event, &why).await {
                let pause = consuming.stall(&mut tried, &trouble);
                unreadable.push((event, why));
                source.pause(pause).await;
            }
        }
        while !pending.is_empty() {
            let attempt = consuming.attempt(&pending, &mut tried).await;
            pending.retain(|event| !attempt.settled.contains(&event.id));
            if !pending.is_empty() && !attempt.pause.is_zero() {
                source.pause(attempt.pause).await;
            }
        }
        source.commit();
    }
}
