//! Consumers of this process that may take long over an event: what they tell
//! is for others to take.
//!
//! The relay's sink only keeps their events, which is a row of the database for
//! each and as fast as the database; a task of their own consumes what is kept,
//! as [`run`](super::run) consumes what a broker keeps. So no other consumer, no
//! relay and no call waits for a receiver.
//!
//! One node at a time tells them, by a lease that outlasts an attempt. One that
//! stood still for longer may tell some once more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Consumer, WHY_CHARS_MAX};
use crate::bus::{Arrival, EventSource, OutboxEvent};
use crate::store::inbox::InboxError;
use crate::store::kept::Kept;

/// Another node may have kept some.
const LOOK: Duration = Duration::from_secs(1);
/// Between counts of those that wait, and how far they are counted.
const COUNT: Duration = Duration::from_secs(5);
const COUNTED_MAX: u32 = 100_000;

/// Keeps what one consumer wants.
#[derive(Clone)]
pub struct Keeper {
    consumer: Arc<dyn Consumer>,
    kept: Arc<dyn Kept>,
    some_came: Arc<Notify>,
}

impl Keeper {
    #[must_use]
    pub fn new(consumer: Arc<dyn Consumer>, kept: Arc<dyn Kept>) -> Self {
        Self {
            consumer,
            kept,
            some_came: Arc::default(),
        }
    }

    /// Where its consumer reads them. The lease must outlast an attempt.
    #[must_use]
    pub fn source(&self, holder: u64, lease: Duration, waiting: Option<Gauge>) -> KeptSource {
        KeptSource {
            consumer: self.consumer.name(),
            kept: Arc::clone(&self.kept),
            some_came: Arc::clone(&self.some_came),
            holder,
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            waiting,
            count_at: Instant::now(),
            answered: Vec::new(),
            consumed: Vec::new(),
        }
    }

    /// Answers the events that must come again.
    pub(super) async fn keep(&self, batch: &[OutboxEvent], within: Duration) -> Vec<OutboxEvent> {
        let wanted = batch
            .iter()
            .filter(|event| self.consumer.wants(&event.kind));
        let wanted: Vec<OutboxEvent> = wanted.cloned().collect();
        if wanted.is_empty() {
            return wanted;
        }
        let name = self.consumer.name();
        let why = match timeout(within, self.kept.keep(name, &wanted)).await {
            Ok(Ok(())) => {
                self.some_came.notify_one();
                return Vec::new();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the database took too long".to_owned(),
        };
        tracing::warn!(consumer = name, error = %why, "events not kept yet");
        wanted
    }
}

/// What was kept for one consumer.
pub struct KeptSource {
    consumer: &'static str,
    kept: Arc<dyn Kept>,
    some_came: Arc<Notify>,
    holder: u64,
    lease_ms: u64,
    waiting: Option<Gauge>,
    count_at: Instant,
    answered: Vec<OutboxEvent>,
    /// To be let go.
    consumed: Vec<OutboxEvent>,
}

impl KeptSource {
    async fn read(&mut self, events_max: usize) -> Result<Vec<OutboxEvent>, InboxError> {
        if !self.consumed.is_empty() {
            self.kept.let_go(self.consumer, &self.consumed).await?;
            self.consumed.clear();
        }
        self.count().await?;
        let most = u32::try_from(events_max).unwrap_or(u32::MAX);
        let kept = self
            .kept
            .kept(self.consumer, self.holder, self.lease_ms, most);
        kept.await
    }

    async fn count(&mut self) -> Result<(), InboxError> {
        let Some(gauge) = self
            .waiting
            .as_ref()
            .filter(|_| Instant::now() >= self.count_at)
        else {
            return Ok(());
        };
        let waiting = self.kept.count_kept(self.consumer, COUNTED_MAX).await?;
        let shown = u32::try_from(waiting).unwrap_or(COUNTED_MAX);
        gauge.set(f64::from(shown));
        self.count_at = Instant::now() + COUNT;
        Ok(())
    }

    fn note(&self, error: &InboxError) {
        let why: String = error.to_string().chars().take(WHY_CHARS_MAX).collect();
        tracing::warn!(consumer = self.consumer, error = %why, "kept events not read");
    }
}

#[async_trait]
impl EventSource for KeptSource {
    async fn next(&mut self, events_max: usize) -> Vec<Arrival> {
        loop {
            match self.read(events_max).await {
                Ok(events) if !events.is_empty() => {
                    self.answered.clone_from(&events);
                    let arrival = |event| Arrival {
                        event,
                        unreadable: None,
                    };
                    return events.into_iter().map(arrival).collect();
                }
                Ok(_) => {
                    let _ = timeout(LOOK, self.some_came.notified()).await;
                }
                Err(error) => {
                    self.note(&error);
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// They are let go before the next ones are read. After a crash in between
    /// they come again, and the inbox knows them.
    fn commit(&mut self) {
        self.consumed.append(&mut self.answered);
    }

    async fn pause(&mut self, pause: Duration) {
        let ends_at = Instant::now() + pause;
        let renewal = Duration::from_millis(self.lease_ms / 3);
        while Instant::now() < ends_at {
            // The lease goes on: what it answers is at hand.
            let renewed = self.kept.kept(self.consumer, self.holder, self.lease_ms, 1);
            if let Err(error) = renewed.await {
                self.note(&error);
            }
            if let Err(error) = self.count().await {
                self.note(&error);
            }
            sleep_until(ends_at.min(Instant::now() + renewal)).await;
        }
    }
}

#[cfg(test)]
mod tests;
