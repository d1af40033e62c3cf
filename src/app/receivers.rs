//! The consumers that tell receivers of the operator's, and what each may take.
//!
//! Without a broker their events are kept in the database, and consumed from
//! there by a task each. What was kept is consumed there also after brokers came.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, ConsumersConfig};
use crate::engine::consumers::{
    Consumer, ConsumerSettings, Consuming, DataPlatform, Keeper, KeptSource, Notifier, run,
};
use crate::metrics::CONSUMER_LAG;
use crate::store::inbox::Inbox;
use crate::store::sql::SqlStore;

use super::events::{consuming, held_up};
use super::stores::Stores;
use super::webhook::Webhook;

/// A consumer whose receiver may take long.
pub(super) struct Telling {
    pub consumer: Arc<dyn Consumer>,
    /// For one event.
    timeout_ms: u64,
    in_flight_max: usize,
}

impl Telling {
    /// No more at once than go out side by side, with the time of one beside that
    /// of the database.
    pub fn settings(&self, config: &ConsumersConfig) -> ConsumerSettings {
        let usual = super::events::settings(config);
        ConsumerSettings {
            batch_events_max: usual.batch_events_max.min(self.in_flight_max),
            apply_timeout_ms: usual.apply_timeout_ms + self.timeout_ms,
            ..usual
        }
    }
}

/// All of this configuration.
pub(super) fn receivers(
    config: &Config,
    sql: &Arc<SqlStore>,
    clock: &Arc<dyn Clock>,
) -> Vec<Telling> {
    let inbox: Arc<dyn Inbox> = Arc::clone(sql) as _;
    let mut all = Vec::new();
    let notifier = &config.notifier;
    if let Some(webhook) = Webhook::of(notifier, Arc::clone(clock)) {
        let (post, in_flight_max) = (Arc::new(webhook), notifier.in_flight_max);
        all.push(Telling {
            consumer: Arc::new(Notifier::new(
                post,
                Arc::clone(&inbox),
                Arc::clone(sql) as _,
                in_flight_max,
            )),
            timeout_ms: notifier.timeout_ms,
            in_flight_max,
        });
    }
    let feed = &config.feed;
    if let Some(webhook) = Webhook::of_feed(feed, Arc::clone(clock)) {
        let (post, inbox, source) = (Arc::new(webhook), inbox, feed.source.clone());
        all.push(Telling {
            consumer: Arc::new(DataPlatform::new(post, inbox, feed.in_flight_max, source)),
            timeout_ms: feed.timeout_ms,
            in_flight_max: feed.in_flight_max,
        });
    }
    all
}

/// The same, as tests can hold them up.
pub(super) fn held_up_receivers(config: &Config, stores: &Stores) -> Vec<Telling> {
    let receivers = receivers(config, &stores.sql, &stores.clock).into_iter();
    let held_up = |telling: Telling| Telling {
        consumer: held_up(telling.consumer, stores),
        ..telling
    };
    receivers.map(held_up).collect()
}

/// A consumer of what is kept for it.
pub(super) struct Reader {
    consuming: Consuming,
    source: KeptSource,
}

impl Reader {
    /// Consumes until it is dropped.
    pub async fn run(mut self) {
        run(&self.consuming, &mut self.source).await;
    }

    pub fn name(&self) -> &'static str {
        self.consuming.name()
    }
}

/// Who keeps events for receivers, and who tells them what is kept; `node` is who
/// takes the leases.
pub(super) fn keepers(config: &Config, stores: &Stores, node: u64) -> (Vec<Keeper>, Vec<Reader>) {
    let (mut keepers, mut readers) = (Vec::new(), Vec::new());
    for telling in held_up_receivers(config, stores) {
        let settings = telling.settings(&config.consumers);
        let lease = Duration::from_millis(2 * settings.apply_timeout_ms + 10_000);
        let keeper = Keeper::new(Arc::clone(&telling.consumer), Arc::clone(&stores.sql) as _);
        // With brokers it tells of these.
        let waiting = config.kafka_brokers.is_none().then(|| {
            let consumer = telling.consumer.name();
            stores.metrics.gauge(&CONSUMER_LAG, &[consumer])
        });
        readers.push(Reader {
            source: keeper.source(node, lease, waiting),
            consuming: consuming(telling.consumer, stores, None, settings),
        });
        keepers.push(keeper);
    }
    (keepers, readers)
}
