//! Dead letters: what a consumer gave up, in a topic of its own, for whoever
//! watches topics. The record that is redriven is the consumer's, in SQL.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use prost::Message as _;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Mutex;

use crate::bus::{DeadLetters, OutboxEvent};
use crate::config::KafkaConfig;

use super::topic::ensure_topic;
use super::{KafkaSetup, Listener, client, wire};

pub struct KafkaDeadLetters {
    brokers: String,
    config: KafkaConfig,
    producer: FutureProducer<Listener>,
    /// Topics that are known to be there.
    made: Mutex<HashSet<String>>,
}

impl KafkaDeadLetters {
    /// # Errors
    /// [`KafkaSetup`] for what the client does not take.
    pub fn new(brokers: &str, config: &KafkaConfig) -> Result<Self, KafkaSetup> {
        let producer = client(brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.max.bytes", config.message_bytes_max.to_string())
            .set("message.timeout.ms", config.delivery_timeout_ms.to_string())
            .create_with_context(Listener::new(None))?;
        Ok(Self {
            brokers: brokers.to_owned(),
            config: config.clone(),
            producer,
            made: Mutex::default(),
        })
    }

    async fn topic_of(&self, consumer: &str) -> Result<String, String> {
        let config = &self.config;
        let topic = format!("{}.{}.{consumer}.dlq", config.topic, config.group);
        let mut made = self.made.lock().await;
        if config.create_topic && !made.contains(&topic) {
            ensure_topic(&self.brokers, config, &topic, 1).await?;
            made.insert(topic.clone());
        }
        Ok(topic)
    }
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn put(&self, consumer: &str, event: &OutboxEvent, why: &str) -> Result<(), String> {
        let topic = self.topic_of(consumer).await?;
        let payload = wire::encode(event).encode_to_vec();
        let headers = [
            ("id", event.id.as_str()),
            ("type", &event.kind),
            ("error", why),
        ]
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let record = FutureRecord::to(&topic)
            .key(&event.aggregate)
            .payload(&payload)
            .headers(headers);
        let sent = self.producer.send(record, Duration::ZERO).await;
        sent.map(drop).map_err(|(error, _)| error.to_string())
    }
}
