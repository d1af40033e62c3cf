//! Tells a receiver of the operator's what happened to a user's reservation, so
//! that it writes to them: paid, cancelled, refunded.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::receiver::{Post, Receiver};
use super::{ConsumeError, Consumer};
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, Inbox};

#[cfg(test)]
mod tests;

pub const NOTIFIER: &str = "notifier";

/// Events that are told, and what of.
const TOLD: [(&str, &str); 3] = [
    ("reservation.confirmed", "paid"),
    ("reservation.cancelled", "cancelled"),
    ("payment.refunded", "refunded"),
];

pub struct Notifier(Receiver);

impl Notifier {
    #[must_use]
    pub fn new(post: Arc<dyn Post>, inbox: Arc<dyn Inbox>, in_flight_max: usize) -> Self {
        Self(Receiver::new(NOTIFIER, post, inbox, in_flight_max))
    }
}

#[async_trait]
impl Consumer for Notifier {
    fn name(&self) -> &'static str {
        NOTIFIER
    }

    fn wants(&self, kind: &str) -> bool {
        TOLD.iter().any(|(told, _)| *told == kind)
    }

    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError> {
        self.0.tell_all(events, coming, notification).await
    }
}

/// The event's own members, beside what every notification has.
fn notification(event: &OutboxEvent) -> Result<String, String> {
    let payload: Map<String, Value> =
        serde_json::from_str(&event.payload).map_err(|error| error.to_string())?;
    let told = TOLD.iter().find(|(kind, _)| *kind == event.kind);
    let (_, about) = told.ok_or_else(|| format!("{} is not told", event.kind))?;
    let mut body = payload;
    body.insert("id".to_owned(), event.id.clone().into());
    body.insert("type".to_owned(), (*about).into());
    body.insert("create_time_ms".to_owned(), event.created_at.0.into());
    Ok(Value::Object(body).to_string())
}
