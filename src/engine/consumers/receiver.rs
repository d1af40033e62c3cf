//! What consumers have in common that tell a receiver of the operator's.
//!
//! An event goes out before it is noted: at least once, with its id, by which
//! the receiver knows it again. Those of one aggregate go one after the other,
//! of several at once. A receiver that is away blames no event.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};

use super::ConsumeError;
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, Inbox};

/// Why a receiver has not taken an event.
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

/// A receiver, and what one consumer has told it.
pub struct Receiver {
    consumer: &'static str,
    post: Arc<dyn Post>,
    inbox: Arc<dyn Inbox>,
    in_flight_max: usize,
}

/// What a receiver is told of an event, or why that cannot be said.
pub type Body<'a> = &'a (dyn Fn(&OutboxEvent) -> Result<String, String> + Send + Sync);

impl Receiver {
    #[must_use]
    pub fn new(
        consumer: &'static str,
        post: Arc<dyn Post>,
        inbox: Arc<dyn Inbox>,
        in_flight_max: usize,
    ) -> Self {
        Self {
            consumer,
            post,
            inbox,
            in_flight_max,
        }
    }

    /// Tells it those of a batch that it was not told before, each once; answers
    /// how many. An error of one event does not undo what it was told of others.
    pub(super) async fn tell_all(
        &self,
        events: &[OutboxEvent],
        coming: Coming,
        body: Body<'_>,
    ) -> Result<usize, ConsumeError> {
        let open = self.inbox.unconsumed(self.consumer, events, coming);
        let mut open = open.await?;
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
            .map(|events| self.tell(events, coming, body));
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

    /// Those of one aggregate, in their order; answers how many.
    async fn tell(
        &self,
        events: Vec<OutboxEvent>,
        coming: Coming,
        body: Body<'_>,
    ) -> Result<usize, ConsumeError> {
        for event in &events {
            let id = || event.id.clone();
            let body = body(event).map_err(|why| ConsumeError::Refused { id: id(), why })?;
            let posted = self.post.post(&event.id, body).await;
            posted.map_err(|error| match error {
                PostError::Refused(why) => ConsumeError::Refused { id: id(), why },
                PostError::Failed(why) => ConsumeError::Failed { id: id(), why },
                PostError::Away(why) => ConsumeError::Unavailable(why),
            })?;
            self.inbox.settle(self.consumer, &event.id, coming).await?;
        }
        Ok(events.len())
    }
}

/// An event at fault is dealt with before a receiver that is away.
fn graver(before: Option<ConsumeError>, now: ConsumeError) -> ConsumeError {
    match before {
        Some(fault @ (ConsumeError::Refused { .. } | ConsumeError::Failed { .. })) => fault,
        Some(ConsumeError::Unavailable(_)) | None => now,
    }
}
