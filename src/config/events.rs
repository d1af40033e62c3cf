//! Settings of events on their way: Kafka, consumers, and the data platform.

use serde::{Deserialize, Serialize};

use super::{Secret, SecretUrl};

/// How messages are packed; what this build's client can without a library of
/// the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
}

impl Compression {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    pub topic: String,
    pub create_topic: bool,
    pub topic_partitions: u32,
    /// 0: the broker's default.
    pub topic_replicas: u32,
    pub group: String,
    /// Whether this node also runs the consumers.
    pub consume: bool,
    pub compression: Compression,
    pub linger_ms: u64,
    pub delivery_timeout_ms: u64,
    pub message_bytes_max: u32,
    pub queue_events_max: u32,
    pub in_flight_max: u32,
    pub metadata_refresh_ms: u64,
    pub session_timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumersConfig {
    pub batch_events_max: usize,
    pub attempts_max: u32,
    pub back_off_ms: u64,
    pub back_off_max_ms: u64,
    pub apply_timeout_ms: u64,
    pub inbox_kept_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Without it there is no feed.
    pub url: Option<SecretUrl>,
    pub secret: Option<Secret>,
    pub source: String,
    pub timeout_ms: u64,
    pub in_flight_max: usize,
}
