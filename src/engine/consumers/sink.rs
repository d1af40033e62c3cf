//! The consumers of this process, as the relay's sink: where there is no broker.
//!
//! An event is taken when all consumers that want it have consumed or parked it.
//! What one of them could not yet is later, with what follows it; the others
//! know it again by their inboxes. For those that may take long it is only kept.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{Consuming, Keeper, Tried};
use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};

/// A batch is kept while its partition's lease lasts.
const KEEP_WITHIN: Duration = Duration::from_secs(3);

pub struct ConsumerSink {
    parts: Vec<Part>,
    keepers: Vec<Keeper>,
}

struct Part {
    consuming: Consuming,
    /// Failures of events that come again; one batch at a time.
    failures: Mutex<Tried>,
}

impl ConsumerSink {
    #[must_use]
    pub fn new(consumers: impl IntoIterator<Item = Consuming>) -> Self {
        let parts = consumers.into_iter().map(|consuming| Part {
            consuming,
            failures: Mutex::default(),
        });
        Self {
            parts: parts.collect(),
            keepers: Vec::new(),
        }
    }

    /// Keeps events for these consumers as well.
    #[must_use]
    pub fn keeping(mut self, keepers: Vec<Keeper>) -> Self {
        self.keepers = keepers;
        self
    }
}

impl Part {
    /// Answers the events that must come again.
    async fn consume(&self, batch: &[OutboxEvent]) -> Vec<OutboxEvent> {
        let wanted = batch.iter().filter(|event| self.consuming.wants(event));
        let mut pending: Vec<OutboxEvent> = wanted.cloned().collect();
        if pending.is_empty() {
            return pending;
        }
        let within = Duration::from_millis(self.consuming.settings.apply_timeout_ms);
        let ends_at = Instant::now() + within;
        let Ok(mut tried) = timeout_at(ends_at, self.failures.lock()).await else {
            return pending;
        };
        // What held up the last batch comes behind what did not.
        let behind = std::mem::take(&mut tried.aside);
        pending.sort_by_key(|event| behind.contains(&event.aggregate));
        let is_pending = |id: &String| pending.iter().any(|event| event.id == *id);
        tried.failures.retain(|id, _| is_pending(id));
        while !pending.is_empty() && Instant::now() < ends_at {
            let attempt = self.consuming.attempt(&pending, &mut tried).await;
            pending.retain(|event| !attempt.settled.contains(&event.id));
            if !attempt.pause.is_zero() {
                // The relay pauses.
                break;
            }
        }
        pending
    }
}

#[async_trait]
impl EventSink for ConsumerSink {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let consuming = join_all(self.parts.iter().map(|part| part.consume(batch)));
        let keeping = self.keepers.iter();
        let keeping = join_all(keeping.map(|keeper| keeper.keep(batch, KEEP_WITHIN)));
        let (left, unkept) = join(consuming, keeping).await;
        let left: Vec<OutboxEvent> = left.into_iter().chain(unkept).flatten().collect();
        if left.is_empty() {
            return Delivery::taken(batch);
        }
        let ids: BTreeSet<&str> = left.iter().map(|event| event.id.as_str()).collect();
        let mut held_back: BTreeSet<&str> = BTreeSet::new();
        let outcomes = batch.iter().map(|event| {
            if ids.contains(event.id.as_str()) || held_back.contains(event.aggregate.as_str()) {
                held_back.insert(&event.aggregate);
                return Outcome::Later;
            }
            Outcome::Taken { route: None }
        });
        Delivery {
            outcomes: outcomes.collect(),
            trouble: Some("a consumer could not take it yet".to_owned()),
        }
    }
}
