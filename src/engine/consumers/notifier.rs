//! Tells a receiver of the operator's what happened to a user's reservation, so
//! that it writes to them: paid, cancelled, refunded; and ahead of time that it
//! is to be paid, and that its performance is near.
//!
//! What was said ahead of time is looked up again right before it goes out: of a
//! hold that was paid meanwhile nobody hears that it should be.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::receiver::{Post, PostError, Receiver};
use super::{ConsumeError, Consumer};
use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::inbox::{Coming, Inbox};
use crate::store::sales::notices::{Notice, Notices, PAY_SOON, REMINDER};

#[cfg(test)]
mod tests;

pub const NOTIFIER: &str = "notifier";

/// Events that are told, and what of.
const TOLD: [(&str, &str); 5] = [
    ("reservation.confirmed", "paid"),
    ("reservation.cancelled", "cancelled"),
    ("payment.refunded", "refunded"),
    (PAY_SOON, "pay_soon"),
    (REMINDER, "reminder"),
];

pub struct Notifier(Receiver);

impl Notifier {
    #[must_use]
    pub fn new(
        post: Arc<dyn Post>,
        inbox: Arc<dyn Inbox>,
        sales: Arc<dyn Notices>,
        in_flight_max: usize,
    ) -> Self {
        let post = Arc::new(IfStillSo { post, sales });
        Self(Receiver::new(NOTIFIER, post, inbox, in_flight_max))
    }
}

/// Posts what is still so; what is not, is as good as told.
struct IfStillSo {
    post: Arc<dyn Post>,
    sales: Arc<dyn Notices>,
}

#[async_trait]
impl Post for IfStillSo {
    async fn post(&self, id: &str, body: String) -> Result<(), PostError> {
        let still = match notice(&body).map_err(PostError::Refused)? {
            // What happened, happened.
            None => Ok(true),
            Some(notice) => self.sales.still_is(notice).await,
        };
        match still.map_err(|error| PostError::Away(error.to_string()))? {
            true => self.post.post(id, body).await,
            false => Ok(()),
        }
    }
}

/// What a notification says ahead of time, if it is one that does.
fn notice(body: &str) -> Result<Option<Notice>, String> {
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let reservation = || {
        let id = body["reservation_id"].as_str().unwrap_or_default();
        ResourceId::parse(id).map_err(|error| error.to_string())
    };
    Ok(match body["type"].as_str() {
        Some("pay_soon") => Some(Notice::PaySoon {
            reservation: reservation()?,
        }),
        Some("reminder") => Some(Notice::Reminder {
            reservation: reservation()?,
            starts_at: UnixMs(body["starts_at"].as_u64().ok_or("no starts_at")?),
        }),
        _ => None,
    })
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
        self.0.tell_all(events, coming, &notification).await
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
