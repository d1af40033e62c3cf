//! Kafka: the sink of the outbox's relay, and the source of consumers in other
//! processes, on librdkafka.
//!
//! A message is one event, keyed by its aggregate (`proto/usher/v1/events.proto`
//! says what is promised to whoever reads them). Which partition an aggregate
//! goes to is decided by its first event, by the number of partitions at that
//! time; that number is its route, kept with the outbox's row and handed back
//! with the next one. So partitions that are added take new aggregates only,
//! and each aggregate stays in one partition, in its order.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::Gauge;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::statistics::Statistics;

mod dead;
mod sink;
mod source;
mod topic;
mod wire;

#[cfg(test)]
#[path = "../../tests/servers/kafka.rs"]
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub use dead::KafkaDeadLetters;
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use topic::ensure_topic;

/// Kafka's client does not take a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kafka: {0}")]
pub struct KafkaSetup(pub String);

impl From<rdkafka::error::KafkaError> for KafkaSetup {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self(error.to_string())
    }
}

/// What all clients are made with.
fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("client.id", "usher")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true")
        // Brokers close idle connections: no news.
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// How often each partition of a topic was taken from this member: what came
/// before its last departure is another member's to commit.
#[derive(Default)]
struct Departures(Mutex<HashMap<i32, u64>>);

impl Departures {
    fn counts(&self) -> MutexGuard<'_, HashMap<i32, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, partition: i32) {
        *self.counts().entry(partition).or_default() += 1;
    }

    fn of(&self, partition: i32) -> u64 {
        self.counts().get(&partition).copied().unwrap_or_default()
    }
}

/// Turns what the client says into log lines and a gauge, and notes which
/// partitions it lost.
pub(crate) struct Listener {
    lag: Option<Gauge>,
    departures: Departures,
    /// The last trouble that was logged: said once while it lasts.
    trouble: Mutex<Option<String>>,
}

impl Listener {
    fn new(lag: Option<Gauge>) -> Self {
        Self {
            lag,
            departures: Departures::default(),
            trouble: Mutex::new(None),
        }
    }

    fn is_news(&self, told: &str) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Addresses and times differ from line to line.
        let kind: String = told.chars().filter(|c| c.is_alphabetic()).collect();
        let is_news = trouble.as_deref() != Some(kind.as_str());
        *trouble = Some(kind);
        is_news
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, told: &str) {
        let is_grave = matches!(
            level,
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical
        );
        if is_grave {
            tracing::error!(kafka.facility = facility, "{told}");
        } else if self.is_news(told) {
            tracing::warn!(kafka.facility = facility, "{told}");
        } else {
            tracing::debug!(kafka.facility = facility, "{told}");
        }
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        if self.is_news(reason) {
            tracing::warn!(error = %error, "kafka: {reason}");
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(lag) = &self.lag else { return };
        let partitions = statistics
            .topics
            .values()
            .flat_map(|of| of.partitions.values());
        let behind: i64 = partitions.map(|of| of.consumer_lag.max(0)).sum();
        lag.set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
    }
}

impl ConsumerContext for Listener {
    /// Called by the poll that finds it, so before any message that comes after.
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(revoked) = rebalance {
            for lost in revoked.elements() {
                self.departures.note(lost.partition());
            }
        }
    }
}
