//! The sink of the relay: events as messages.
//!
//! A batch goes out in waves, each with at most one event of an aggregate, and
//! a wave only when all of the one before were acknowledged: an event that
//! failed, for whatever reason and in whatever state, is never overtaken by a
//! later one of its aggregate. Within a wave messages are in flight together.
//! The producer is idempotent and waits for all copies in sync; an event of
//! unknown fate is told as later, comes again, and is a duplicate at worst.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use metrics::Counter;
use prost::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::config::KafkaConfig;
use crate::domain::trace::Trace;
use crate::metrics::{KAFKA_MESSAGES, Metrics};

use super::{KafkaSetup, Listener, client, wire};

type Producer = FutureProducer<Listener>;

/// The client is asked for the topic's partitions by a blocking call.
const METADATA_WITHIN: Duration = Duration::from_secs(2);

pub struct KafkaSink {
    brokers: String,
    config: KafkaConfig,
    producer: Mutex<Producer>,
    partitions: tokio::sync::Mutex<Option<Known>>,
    published: Counter,
    failed: Counter,
}

/// How many partitions the topic had.
#[derive(Clone, Copy)]
struct Known {
    count: u32,
    at: Instant,
}

/// What became of one message.
enum Sent {
    Acknowledged,
    /// By the client: no wait will help.
    TooLarge,
    /// By a broker, perhaps for the company it was sent in.
    BatchTooLarge,
    Refused(String),
    Unknown(String),
}

impl KafkaSink {
    /// Connects to nobody yet: a broker that is away holds no start up.
    ///
    /// # Errors
    /// [`KafkaSetup`] for what the client does not take.
    pub fn new(brokers: &str, config: &KafkaConfig, metrics: &Metrics) -> Result<Self, KafkaSetup> {
        Ok(Self {
            brokers: brokers.to_owned(),
            producer: Mutex::new(producer(brokers, config)?),
            config: config.clone(),
            partitions: tokio::sync::Mutex::new(None),
            published: metrics.counter(&KAFKA_MESSAGES, &["published"]),
            failed: metrics.counter(&KAFKA_MESSAGES, &["failed"]),
        })
    }

    fn producer(&self) -> Producer {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        producer.clone()
    }

    /// A producer that met a fatal error does nothing any more. Another one
    /// begins behind what this one got through, which is in order.
    fn replace_broken(&self, broken: &Producer) {
        let Some((_, why)) = broken.client().fatal_error() else {
            return;
        };
        tracing::error!(error = %why, "kafka's producer is broken, and made anew");
        if let Ok(fresh) = producer(&self.brokers, &self.config) {
            let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
            *producer = fresh;
        }
    }

    /// Of the topic, as of late; while brokers are away, as of before. What is
    /// known to be fewer than `at_least` is of before more were added.
    async fn partitions(&self, producer: &Producer, at_least: u32) -> Result<u32, String> {
        let mut known = self.partitions.lock().await;
        let fresh = Duration::from_millis(self.config.metadata_refresh_ms);
        let suffices = |known: &Known| known.at.elapsed() < fresh && known.count >= at_least;
        if let Some(known) = known.filter(suffices) {
            return Ok(known.count);
        }
        let (asked, topic) = (producer.clone(), self.config.topic.clone());
        let answer = tokio::task::spawn_blocking(move || count_partitions(&asked, &topic)).await;
        match (answer.map_err(|error| error.to_string()).flatten(), *known) {
            (Ok(count), _) => {
                let at = Instant::now();
                *known = Some(Known { count, at });
                Ok(count)
            }
            (Err(_), Some(before)) => Ok(before.count),
            (Err(why), None) => Err(why),
        }
    }

    async fn send(&self, producer: &Producer, event: &OutboxEvent, partition: i32) -> Sent {
        let payload = wire::encode(event).encode_to_vec();
        let record = FutureRecord::to(&self.config.topic)
            .key(&event.aggregate)
            .payload(&payload)
            .partition(partition)
            .timestamp(i64::try_from(event.created_at.0).unwrap_or(i64::MAX))
            .headers(headers(event));
        // Handed over here, in the order of the calls; only then awaited.
        let sent = producer.send_result(record).map_err(|(error, _)| error);
        let sent = match sent {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                Sent::TooLarge
            }
            Err(error) => Sent::Unknown(error.to_string()),
            Ok(report) => match report.await {
                Ok(Ok(_)) => Sent::Acknowledged,
                Ok(Err((error, _))) => classify(&error),
                Err(_) => Sent::Unknown("the producer is gone".to_owned()),
            },
        };
        match &sent {
            Sent::Acknowledged => self.published.increment(1),
            _ => self.failed.increment(1),
        }
        sent
    }

    /// Sends some of a batch together, but those whose partition is not known.
    async fn send_wave(
        &self,
        producer: &Producer,
        batch: &[OutboxEvent],
        wave: &[usize],
        partitions: u32,
    ) -> Vec<Wave> {
        let mut outcomes = Vec::with_capacity(wave.len());
        let mut sends = Vec::with_capacity(wave.len());
        for index in wave {
            let event = &batch[*index];
            let route = event.route.unwrap_or(partitions);
            let partition = partition_of(&event.aggregate, route);
            if u32::try_from(partition).is_ok_and(|partition| partition >= partitions) {
                outcomes.push(Wave {
                    index: *index,
                    outcome: Outcome::Waits,
                    trouble: None,
                });
                continue;
            }
            sends.push(async move {
                let sent = self.send(producer, event, partition).await;
                (*index, route, partition, sent)
            });
        }
        for (index, route, partition, sent) in join_all(sends).await {
            let sent = match sent {
                Sent::BatchTooLarge => self.send(producer, &batch[index], partition).await,
                sent => sent,
            };
            outcomes.push(self.judge(index, route, sent));
        }
        outcomes
    }

    fn judge(&self, index: usize, route: u32, sent: Sent) -> Wave {
        let bytes_max = self.config.message_bytes_max;
        let (outcome, trouble) = match sent {
            Sent::Acknowledged => (Outcome::Taken { route: Some(route) }, None),
            Sent::TooLarge => (
                Outcome::Refused(format!("larger than {bytes_max} bytes")),
                None,
            ),
            Sent::BatchTooLarge => (
                Outcome::Refused("larger than the broker takes".to_owned()),
                None,
            ),
            Sent::Refused(why) => (Outcome::Refused(why), None),
            Sent::Unknown(why) => (Outcome::Later, Some(why)),
        };
        Wave {
            index,
            outcome,
            trouble,
        }
    }
}

/// One event's part in a wave.
struct Wave {
    index: usize,
    outcome: Outcome,
    trouble: Option<String>,
}

#[async_trait]
impl EventSink for KafkaSink {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let mut delivery = Delivery {
            outcomes: vec![Outcome::Later; batch.len()],
            trouble: None,
        };
        if batch.is_empty() {
            return delivery;
        }
        let producer = self.producer();
        let routes = batch.iter().filter_map(|event| event.route);
        let route_max = routes.max().unwrap_or_default();
        let partitions = match self.partitions(&producer, route_max).await {
            Ok(partitions) => partitions,
            Err(why) => return Delivery::later(batch, why),
        };
        if partitions < route_max {
            let topic = &self.config.topic;
            tracing::error!(kafka.topic = %topic, partitions, needed = route_max, "partitions are missing: their events wait");
        }
        let ends_at = Instant::now() + Duration::from_millis(self.config.delivery_timeout_ms);
        let mut held_back: HashMap<&str, Outcome> = HashMap::new();
        for wave in waves(batch) {
            if Instant::now() >= ends_at {
                let why = || "the brokers are slow".to_owned();
                delivery.trouble.get_or_insert_with(why);
                break;
            }
            let mut free = Vec::with_capacity(wave.len());
            for index in wave {
                match held_back.get(batch[index].aggregate.as_str()) {
                    Some(fate) => delivery.outcomes[index] = fate.clone(),
                    None => free.push(index),
                }
            }
            for sent in self.send_wave(&producer, batch, &free, partitions).await {
                if matches!(sent.outcome, Outcome::Later | Outcome::Waits) {
                    let fate = sent.outcome.clone();
                    held_back.insert(&batch[sent.index].aggregate, fate);
                }
                delivery.outcomes[sent.index] = sent.outcome;
                delivery.trouble = delivery.trouble.or(sent.trouble);
            }
        }
        if delivery.trouble.is_some() {
            self.replace_broken(&producer);
        }
        delivery
    }
}

/// Indexes into a batch: the first event of each aggregate, then the second.
fn waves(batch: &[OutboxEvent]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, event) in batch.iter().enumerate() {
        let depth = seen.entry(&event.aggregate).or_default();
        if *depth == waves.len() {
            waves.push(Vec::new());
        }
        waves[*depth].push(index);
        *depth += 1;
    }
    waves
}

/// Where an aggregate goes that has this route.
fn partition_of(aggregate: &str, route: u32) -> i32 {
    let digest = Sha256::digest(aggregate);
    let mut bytes = [0; 8];
    // The first byte chose the outbox's partition.
    bytes.copy_from_slice(&digest[8..16]);
    let partition = u64::from_be_bytes(bytes) % u64::from(route.max(1));
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn count_partitions(producer: &Producer, topic: &str) -> Result<u32, String> {
    let metadata = producer
        .client()
        .fetch_metadata(Some(topic), METADATA_WITHIN)
        .map_err(|error| error.to_string())?;
    let found = metadata.topics().iter().find(|one| one.name() == topic);
    match found.map(|one| one.partitions().len()) {
        Some(count) if count > 0 => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => Err(format!("there is no topic {topic}")),
    }
}

fn producer(brokers: &str, config: &KafkaConfig) -> Result<Producer, KafkaSetup> {
    let message_bytes = config.message_bytes_max.to_string();
    let timeout_ms = config.delivery_timeout_ms.to_string();
    let refresh_ms = config.metadata_refresh_ms.to_string();
    client(brokers)
        // With partitions and copies of a broker's choice it would be wrong.
        .set("allow.auto.create.topics", "false")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set(
            "max.in.flight.requests.per.connection",
            config.in_flight_max.to_string(),
        )
        .set("compression.type", config.compression.as_str())
        .set("linger.ms", config.linger_ms.to_string())
        .set("message.max.bytes", &message_bytes)
        .set("batch.size", &message_bytes)
        .set("message.timeout.ms", &timeout_ms)
        .set("request.timeout.ms", &timeout_ms)
        .set(
            "queue.buffering.max.messages",
            config.queue_events_max.to_string(),
        )
        .set("retry.backoff.ms", "50")
        .set("topic.metadata.refresh.interval.ms", refresh_ms)
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .create_with_context(Listener::new(None))
        .map_err(KafkaSetup::from)
}

fn headers(event: &OutboxEvent) -> OwnedHeaders {
    let trace = trace_parent(event);
    let header = |key, value: &str| (key, value.to_owned());
    [
        header("id", &event.id),
        header("type", &event.kind),
        header("traceparent", &trace),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(&value),
        })
    })
}

/// W3C: a span per event, in the trace of the request that caused it; where none
/// is known, in one per aggregate.
pub(super) fn trace_parent(event: &OutboxEvent) -> String {
    let trace = event.trace.unwrap_or_else(|| Trace::of(&event.aggregate));
    let digest = Sha256::digest(&event.id);
    let mut span = [0; 8];
    span.copy_from_slice(&digest[..8]);
    trace.parent(u64::from_be_bytes(span).max(1))
}

/// Only what is the message's own fault is refused: the rest may pass.
fn classify(error: &KafkaError) -> Sent {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Sent::BatchTooLarge,
        Some(code @ (RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidTimestamp)) => {
            Sent::Refused(code.to_string())
        }
        _ => Sent::Unknown(error.to_string()),
    }
}
