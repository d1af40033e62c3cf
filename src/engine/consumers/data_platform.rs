//! Feeds a data platform: tells a receiver of the operator's all that happened,
//! as `CloudEvents` 1.0 in JSON, one to a POST.
//!
//! What the server notes for itself is not told: it repeats what other events
//! say, or says it in part.

use std::sync::Arc;

use async_trait::async_trait;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::receiver::{Post, Receiver};
use super::{ConsumeError, Consumer};
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, Inbox};

#[cfg(test)]
mod tests;

pub const DATA_PLATFORM: &str = "data_platform";

/// Of events in JSON, where the body of a POST is one of them.
pub const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";

/// From the relay to the queue, and from a cancelled performance to itself.
const NOT_TOLD: [&str; 3] = ["slot.freed", "place.left", "performance.refunding"];

pub struct DataPlatform {
    receiver: Receiver,
    source: String,
}

impl DataPlatform {
    /// `source` is this installation, as a reference by which the platform tells
    /// it from others.
    #[must_use]
    pub fn new(
        post: Arc<dyn Post>,
        inbox: Arc<dyn Inbox>,
        in_flight_max: usize,
        source: String,
    ) -> Self {
        Self {
            receiver: Receiver::new(DATA_PLATFORM, post, inbox, in_flight_max),
            source,
        }
    }
}

#[async_trait]
impl Consumer for DataPlatform {
    fn name(&self) -> &'static str {
        DATA_PLATFORM
    }

    fn wants(&self, kind: &str) -> bool {
        !NOT_TOLD.contains(&kind)
    }

    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError> {
        let body = |event: &OutboxEvent| cloud_event(event, &self.source);
        self.receiver.tell_all(events, coming, &body).await
    }
}

fn cloud_event(event: &OutboxEvent, source: &str) -> Result<String, String> {
    let data: Map<String, Value> =
        serde_json::from_str(&event.payload).map_err(|error| error.to_string())?;
    let told = json!({
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": format!("usher.{}", event.kind),
        "subject": event.aggregate,
        "time": time(event)?,
        "datacontenttype": "application/json",
        // The extension `sequence`: text that sorts as the versions do.
        "sequence": format!("{:020}", event.version),
        "data": data,
    });
    Ok(told.to_string())
}

/// In RFC 3339.
fn time(event: &OutboxEvent) -> Result<String, String> {
    let ms = event.created_at.0;
    let seconds = i64::try_from(ms / 1_000).map_err(|error| error.to_string())?;
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).map_err(|error| error.to_string())?;
    Ok(Timestamp { seconds, nanos }.to_string())
}
