//! Where events go: to Kafka, or to the consumers of this process. And the loops
//! that carry them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use crate::bus::kafka::{KafkaDeadLetters, KafkaSetup, KafkaSink, KafkaSource, ensure_topic};
use crate::bus::{
    BusEvent, BusMessage, BusSubscription, DeadLetters, Delivery, EventSink, OutboxEvent, Outcome,
};
use crate::clock::Clock;
use crate::config::{Config, ConsumersConfig, KafkaConfig};
use crate::engine::consumers::{
    ConsumeError, Consumer, ConsumerSettings, ConsumerSink, Consuming, PRUNED_PER_UNIT, projectors,
    prune, run,
};
use crate::engine::relay::{
    AWAY_PAUSE_MAX_MS, LOOK_INTERVAL_MS, PRUNE_INTERVAL_MS, Relay, SlotConsumer, Step,
};
use crate::engine::sale::WindUpConsumer;
use crate::metrics::{CONSUMER_LAG, CONSUMER_PARKED, Metrics};
use crate::store::inbox::{Coming, Inbox};
use crate::store::outbox::{OutboxError, RetryPolicy};
use crate::store::sql::SqlStore;
use crate::truth::failpoint::{Failpoints, Point};

use super::StartError;
use super::node::Node;
use super::receivers::{Reader, held_up_receivers, keepers, receivers};
use super::stores::Stores;

/// Between tries to make a topic.
const TOPIC_RETRY: Duration = Duration::from_secs(2);
/// A commit is seldom alone: those that come with it go in the same batch.
const GATHER: Duration = Duration::from_millis(3);
const PARKED_INTERVAL: Duration = Duration::from_secs(5);

/// A consumer that tests can hold up.
struct HeldUp {
    consumer: Arc<dyn Consumer>,
    failpoints: Arc<Failpoints>,
}

#[async_trait]
impl Consumer for HeldUp {
    fn name(&self) -> &'static str {
        self.consumer.name()
    }

    fn wants(&self, kind: &str) -> bool {
        self.consumer.wants(kind)
    }

    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError> {
        let come = self.failpoints.hit(Point::EventsCome).await;
        come.map_err(|injected| ConsumeError::Unavailable(injected.to_string()))?;
        self.consumer.consume(events, coming).await
    }
}

/// A sink behind which tests can stop the relay.
struct Delivered {
    sink: Arc<dyn EventSink>,
    failpoints: Arc<Failpoints>,
}

#[async_trait]
impl EventSink for Delivered {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let delivery = self.sink.deliver(batch).await;
        let taken = |outcome: &Outcome| matches!(outcome, Outcome::Taken { .. });
        if delivery.outcomes.iter().any(taken)
            && let Err(injected) = self.failpoints.hit(Point::EventsDelivered).await
        {
            return Delivery::later(batch, injected.to_string());
        }
        delivery
    }
}

/// A consumer and its membership in a group.
pub struct Member {
    consuming: Consuming,
    source: KafkaSource,
}

impl Member {
    /// Consumes until it is dropped.
    pub async fn run(mut self) {
        run(&self.consuming, &mut self.source).await;
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.consuming.name()
    }
}

/// The sink of this node's relay, and who reads what it keeps.
///
/// # Errors
/// [`StartError::Setting`] for what Kafka's client does not take.
fn sink(
    config: &Config,
    stores: &Stores,
    node: u64,
) -> Result<(Arc<dyn EventSink>, Vec<Reader>), StartError> {
    let (keepers, readers) = keepers(config, stores, node);
    if let Some(brokers) = &config.kafka_brokers {
        let sink = KafkaSink::new(brokers, &config.kafka, &stores.metrics);
        return Ok((Arc::new(sink.map_err(refused)?), readers));
    }
    let settings = settings(&config.consumers);
    let consuming = counting(stores)
        .into_iter()
        .map(|consumer| consuming(consumer, stores, None, settings));
    let sink = ConsumerSink::new(consuming).keeping(keepers);
    Ok((Arc::new(sink), readers))
}

/// All consumers as members of their groups.
///
/// # Errors
/// [`StartError::Setting`] without brokers, and for what Kafka's client does not
/// take.
pub fn members(config: &Config, stores: &Stores) -> Result<Vec<Member>, StartError> {
    let Some(brokers) = &config.kafka_brokers else {
        return Err(StartError::Setting {
            key: "kafka_brokers",
            why: "is needed: without Kafka the server's own process consumes".to_owned(),
        });
    };
    let letters = KafkaDeadLetters::new(brokers, &config.kafka).map_err(refused)?;
    let letters: Arc<dyn DeadLetters> = Arc::new(letters);
    let member = |(consumer, settings): (Arc<dyn Consumer>, ConsumerSettings)| {
        let lag = stores.metrics.gauge(&CONSUMER_LAG, &[consumer.name()]);
        let source = KafkaSource::new(brokers, &config.kafka, consumer.name(), lag);
        let letters = Some(Arc::clone(&letters));
        Ok(Member {
            source: source.map_err(refused)?,
            consuming: consuming(consumer, stores, letters, settings),
        })
    };
    let usual = settings(&config.consumers);
    let counting = counting(stores).into_iter().map(|one| (one, usual));
    let telling = held_up_receivers(config, stores).into_iter().map(|one| {
        let settings = one.settings(&config.consumers);
        (one.consumer, settings)
    });
    counting.chain(telling).map(member).collect()
}

/// Makes the topic of events if that is this program's matter; tries for ever.
pub async fn make_topic(brokers: String, config: KafkaConfig) {
    if !config.create_topic {
        return;
    }
    loop {
        let partitions = config.topic_partitions;
        match ensure_topic(&brokers, &config, &config.topic, partitions).await {
            Ok(()) => return,
            Err(why) => tracing::warn!(kafka.topic = %config.topic, error = %why, "no topic yet"),
        }
        sleep(TOPIC_RETRY).await;
    }
}

/// All consumers of this configuration.
#[must_use]
pub fn consumers(
    config: &Config,
    sql: &Arc<SqlStore>,
    clock: &Arc<dyn Clock>,
) -> Vec<Arc<dyn Consumer>> {
    let inbox: Arc<dyn Inbox> = Arc::clone(sql) as _;
    let telling = receivers(config, sql, clock).into_iter();
    let telling = telling.map(|one| one.consumer);
    projectors(&inbox).into_iter().chain(telling).collect()
}

/// Those that only count.
fn counting(stores: &Stores) -> Vec<Arc<dyn Consumer>> {
    let inbox: Arc<dyn Inbox> = Arc::clone(&stores.sql) as _;
    let projectors = projectors(&inbox).into_iter();
    projectors.map(|one| held_up(one, stores)).collect()
}

pub(super) fn held_up(consumer: Arc<dyn Consumer>, stores: &Stores) -> Arc<dyn Consumer> {
    Arc::new(HeldUp {
        consumer,
        failpoints: Arc::clone(&stores.failpoints),
    })
}

pub(super) fn settings(config: &ConsumersConfig) -> ConsumerSettings {
    ConsumerSettings {
        batch_events_max: config.batch_events_max,
        retry: RetryPolicy {
            back_off_ms: config.back_off_ms,
            back_off_max_ms: config.back_off_max_ms,
            attempts_max: config.attempts_max,
        },
        apply_timeout_ms: config.apply_timeout_ms,
    }
}

pub(super) fn consuming(
    consumer: Arc<dyn Consumer>,
    stores: &Stores,
    letters: Option<Arc<dyn DeadLetters>>,
    settings: ConsumerSettings,
) -> Consuming {
    let inbox = Arc::clone(&stores.sql) as _;
    Consuming::new(consumer, inbox, letters, settings, &stores.metrics)
}

fn refused(error: KafkaSetup) -> StartError {
    StartError::Setting {
        key: "kafka_brokers",
        why: error.to_string(),
    }
}

impl Node {
    /// Carries events away, and consumes those of the broker.
    pub(super) async fn start_events(
        &self,
        config: &Config,
        stores: &Stores,
    ) -> Result<(), StartError> {
        let id = self.relay_id();
        let (outlet, readers) = sink(config, stores, id)?;
        let outlet = Delivered {
            sink: outlet,
            failpoints: Arc::clone(&stores.failpoints),
        };
        let refunds = WindUpConsumer::new(self.sale.clone(), Arc::new(outlet));
        let sink = SlotConsumer::new(Arc::clone(&self.engine) as _, Arc::new(refunds));
        let relay = Arc::new(Relay::new(
            Arc::clone(&self.store) as _,
            Arc::new(sink),
            id,
            &stores.metrics,
        ));
        let bus = self.bus.subscribe().await;
        let bus = bus.map_err(|error| StartError::Store {
            why: error.to_string(),
        })?;
        self.start_relay(Arc::clone(&relay), bus);
        self.start_pruning(relay, config.consumers.inbox_kept_ms);
        self.report_parked(&stores.metrics);
        for reader in readers {
            self.spawn(reader.name(), reader.run());
        }
        if let Some(brokers) = &config.kafka_brokers {
            self.spawn("topic", make_topic(brokers.clone(), config.kafka.clone()));
            if config.kafka.consume {
                for member in members(config, stores)? {
                    self.spawn(member.name(), member.run());
                }
            }
        }
        Ok(())
    }

    /// A stop waits for its last words.
    fn start_relay(&self, relay: Arc<Relay>, bus: Box<dyn BusSubscription>) {
        let stop = self.stop.clone();
        self.steps.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = carry(&relay, bus) => {}
            }
            if let Err(error) = relay.retire().await {
                tracing::warn!(error = %error, "others wait for the leases of the outbox");
            }
        });
    }

    fn start_pruning(&self, relay: Arc<Relay>, inbox_kept_ms: u64) {
        let (store, stop) = (Arc::clone(&self.store), self.stop.clone());
        self.every(
            "prune",
            Duration::from_millis(PRUNE_INTERVAL_MS),
            move || {
                let (relay, store) = (Arc::clone(&relay), Arc::clone(&store));
                let pruning = async move {
                    let of_inbox = prune(store.as_ref(), inbox_kept_ms, PRUNED_PER_UNIT);
                    let (outbox, inbox) = tokio::join!(relay.prune(), of_inbox);
                    if let Err(error) = outbox {
                        tracing::warn!(error = %error, "outbox not pruned");
                    }
                    if let Err(error) = inbox {
                        tracing::warn!(error = %error, "inbox not pruned");
                    }
                };
                let stop = stop.clone();
                // It may have much to do.
                async move { stop.run_until_cancelled(pruning).await.unwrap_or_default() }
            },
        );
    }

    fn report_parked(&self, metrics: &Metrics) {
        let gauge = metrics.gauge(&CONSUMER_PARKED, &[]);
        let store = Arc::clone(&self.store);
        self.every("parked", PARKED_INTERVAL, move || {
            let (gauge, store) = (gauge.clone(), Arc::clone(&store));
            async move {
                match store.count_dead_letters().await {
                    Ok(parked) => gauge.set(f64::from(u32::try_from(parked).unwrap_or(u32::MAX))),
                    Err(error) => tracing::warn!(error = %error, "parked events not counted"),
                }
            }
        });
    }
}

/// Steps of the relay: at once while there is something, soon after a commit of
/// this node, else now and then; ever more seldom while the sink is away.
async fn carry(relay: &Relay, mut bus: Box<dyn BusSubscription>) {
    let look = Duration::from_millis(LOOK_INTERVAL_MS);
    let mut away = look;
    loop {
        match relay.step().await {
            Ok(Step {
                settled,
                is_away: false,
            }) => {
                away = look;
                if settled == 0 && timeout(look, sold_something(&mut bus)).await.is_ok() {
                    sleep(GATHER).await;
                }
            }
            Ok(Step { settled, .. }) => {
                away = match settled {
                    0 => away
                        .saturating_mul(2)
                        .min(Duration::from_millis(AWAY_PAUSE_MAX_MS)),
                    _ => look,
                };
                sleep(away).await;
            }
            Err(error) => {
                log_undrained(&error);
                sleep(look).await;
            }
        }
    }
}

fn log_undrained(error: &OutboxError) {
    tracing::warn!(error = %error, "outbox not drained");
}

/// Ends when seats changed hands: that leaves events.
async fn sold_something(bus: &mut Box<dyn BusSubscription>) {
    while let Some(event) = bus.next().await {
        match event {
            BusEvent::Message(BusMessage::Seats { .. }) | BusEvent::Gap => return,
            BusEvent::Message(
                BusMessage::Room(..)
                | BusMessage::RoomChanged(_)
                | BusMessage::CatalogChanged
                | BusMessage::SoldOutTurned { .. }
                | BusMessage::CampaignChanged { .. },
            )
            | BusEvent::RoomGap(_) => {}
        }
    }
    std::future::pending().await
}
