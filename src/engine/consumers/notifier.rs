//! Tells a receiver of the operator's what happened to a user's reservation, so
//! that it writes to them: paid, cancelled, refunded.
//!
//! A notification goes out before it is noted: at least once, with the event's
//! id, by which the receiver knows it again. Those of one reservation go one
//! after the other, of several at once. A receiver that is away blames no event.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Map, Value};

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

/// Why a receiver has not taken a notification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It never will.
    #[error("{0}")]
    Refused(String),
    /// It could not, perhaps for this one.
    #[error("{0}")]
    Failed(String),
    /// It takes none now.
    #[error("{0}")]
    Away(String),
}

/// The way to the receiver. Answers in bounded time.
#[async_trait]
pub trait Post: Send + Sync + 'static {
    /// # Errors
    /// [`PostError`] unless the receiver took it.
    async fn post(&self, id: &str, body: String) -> Result<(), PostError>;
}

pub struct Notifier {
    post: Arc<dyn Post>,
    inbox: Arc<dyn Inbox>,
    in_flight_max: usize,
}

impl Notifier {
    #[must_use]
    pub fn new(post: Arc<dyn Post>, inbox: Arc<dyn Inbox>, in_flight_max: usize) -> Self {
        Self {
            post,
            inbox,
            in_flight_max,
        }
    }

    /// Those of one aggregate, in their order; answers how many.
    async fn tell(&self, events: Vec<OutboxEvent>, coming: Coming) -> Result<usize, ConsumeError> {
        for event in &events {
            let id = || event.id.clone();
            let body =
                notification(event).map_err(|why| ConsumeError::Refused { id: id(), why })?;
            let posted = self.post.post(&event.id, body).await;
            posted.map_err(|error| match error {
                PostError::Refused(why) => ConsumeError::Refused { id: id(), why },
                PostError::Failed(why) => ConsumeError::Failed { id: id(), why },
                PostError::Away(why) => ConsumeError::Unavailable(why),
            })?;
            self.inbox.settle(NOTIFIER, &event.id, coming).await?;
        }
        Ok(events.len())
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

    /// An error of one event does not undo what others were told.
    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError> {
        let mut open = self.inbox.unconsumed(NOTIFIER, events, coming).await?;
        let mut by_aggregate: BTreeMap<&str, Vec<OutboxEvent>> = BTreeMap::new();
        for event in events {
            // Twice in one batch is once.
            if open.remove(&event.id) {
                let of_it = by_aggregate.entry(&event.aggregate).or_default();
                of_it.push(event.clone());
            }
        }
        let telling = by_aggregate
            .into_values()
            .map(|events| self.tell(events, coming));
        let mut telling = stream::iter(telling).buffer_unordered(self.in_flight_max);
        let (mut told, mut failure) = (0, None);
        while let Some(one) = telling.next().await {
            match one {
                Ok(count) => told += count,
                Err(error) => failure = Some(graver(failure, error)),
            }
        }
        failure.map_or(Ok(told), Err)
    }
}

/// An event at fault is dealt with before a receiver that is away.
fn graver(before: Option<ConsumeError>, now: ConsumeError) -> ConsumeError {
    match before {
        Some(fault @ (ConsumeError::Refused { .. } | ConsumeError::Failed { .. })) => fault,
        Some(ConsumeError::Unavailable(_)) | None => now,
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
