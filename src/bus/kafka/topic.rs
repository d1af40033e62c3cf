//! The topics of events and of dead letters, made where they are missing.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use crate::config::KafkaConfig;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Makes a topic unless it is there.
///
/// # Errors
/// What the brokers said, or that they did not: try again.
pub async fn ensure_topic(
    brokers: &str,
    config: &KafkaConfig,
    name: &str,
    partitions: u32,
) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = super::client(brokers)
        .create()
        .map_err(|error| error.to_string())?;
    let copies = match i32::try_from(config.topic_replicas) {
        Ok(copies) if copies > 0 => copies,
        _ => -1,
    };
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
    let patient = AdminOptions::new()
        .request_timeout(Some(ANSWER_WITHIN))
        .operation_timeout(Some(ANSWER_WITHIN));
    let made = admin.create_topics([&topic], &patient).await;
    for one in made.map_err(|error| error.to_string())? {
        match one {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, why)) => return Err(why.to_string()),
        }
    }
    Ok(())
}
