//! The bus and the sink of a single process.
//!
//! [`LocalBus`] is one bounded ring that all subscriptions read at their own
//! pace. A reader that falls a whole ring behind loses the oldest messages and
//! is told so with [`BusEvent::Gap`]; a writer never waits.
//!
//! [`LocalSink`] is a bounded log in memory: consumers read on from where they
//! stand. A batch that was delivered twice is in it twice: the consumer's inbox
//! tells.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{BusError, BusEvent, BusMessage, BusSubscription, EventBus, EventSink};
use super::{Delivery, OutboxEvent, Outcome};

/// Messages a reader may be behind, unless configured otherwise.
pub const BUS_MESSAGES_MAX: usize = 4_096;

/// An [`EventBus`] inside one process.
#[derive(Debug, Clone)]
pub struct LocalBus {
    sender: broadcast::Sender<BusMessage>,
}

impl LocalBus {
    /// # Panics
    /// When `messages_max` is 0.
    #[must_use]
    pub fn new(messages_max: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(messages_max),
        }
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new(BUS_MESSAGES_MAX)
    }
}

#[async_trait]
impl EventBus for LocalBus {
    fn publish(&self, message: BusMessage) {
        // An error says that nobody listens, and then nobody misses anything.
        let _ = self.sender.send(message);
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        Ok(Box::new(LocalSubscription(self.sender.subscribe())))
    }
}

struct LocalSubscription(broadcast::Receiver<BusMessage>);

#[async_trait]
impl BusSubscription for LocalSubscription {
    async fn next(&mut self) -> Option<BusEvent> {
        match self.0.recv().await {
            Ok(message) => Some(BusEvent::Message(message)),
            Err(RecvError::Lagged(_)) => Some(BusEvent::Gap),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Bounds of a [`LocalSink`].
#[derive(Debug, Clone, Copy)]
pub struct LocalSinkLimits {
    /// Events kept for consumers; older ones are dropped.
    pub events_max: usize,
    /// A larger payload is refused.
    pub payload_bytes_max: usize,
}

impl Default for LocalSinkLimits {
    fn default() -> Self {
        Self {
            events_max: 16_384,
            payload_bytes_max: 1 << 20,
        }
    }
}

/// An [`EventSink`] inside one process.
#[derive(Debug, Default)]
pub struct LocalSink {
    limits: LocalSinkLimits,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    events: VecDeque<OutboxEvent>,
    /// Offset of the oldest event kept.
    first: u64,
}

/// What a consumer gets, and where to read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRead {
    pub events: Vec<OutboxEvent>,
    pub next_offset: u64,
    /// Events between the offset asked for and the first one kept.
    pub missed: u64,
}

impl LocalSink {
    #[must_use]
    pub fn new(limits: LocalSinkLimits) -> Self {
        Self {
            limits,
            log: Mutex::default(),
        }
    }

    /// At most `events_max` events from `offset` on, in order of delivery.
    #[must_use]
    pub fn read(&self, offset: u64, events_max: usize) -> LogRead {
        let log = self.log();
        let from = offset.max(log.first);
        let skip = usize::try_from(from - log.first).unwrap_or(usize::MAX);
        let events: Vec<_> = log
            .events
            .iter()
            .skip(skip)
            .take(events_max)
            .cloned()
            .collect();
        LogRead {
            next_offset: from + events.len() as u64,
            missed: from - offset,
            events,
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventSink for LocalSink {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let mut log = self.log();
        let bytes_max = self.limits.payload_bytes_max;
        let outcomes = batch.iter().map(|event| {
            if event.payload.len() > bytes_max {
                return Outcome::Refused(format!("payload exceeds {bytes_max} bytes"));
            }
            if log.events.len() >= self.limits.events_max {
                log.events.pop_front();
                log.first += 1;
            }
            log.events.push_back(event.clone());
            Outcome::Taken { route: None }
        });
        Delivery {
            outcomes: outcomes.collect(),
            trouble: None,
        }
    }
}

#[cfg(test)]
mod tests;
