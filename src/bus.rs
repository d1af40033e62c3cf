//! Seams to what carries events: between nodes ([`EventBus`]), and out of the
//! system ([`EventSink`]).
//!
//! The bus is a shortcut, never the truth: a reader that misses a message
//! notices by the cursor of the next tick and reads the store. So the bus may
//! lose messages, and says [`BusEvent::Gap`] when it knows that it did.

pub mod kafka;
pub mod local;
pub mod redis;

#[cfg(test)]
pub(crate) mod conformance;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::delta::RoomDelta;
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::time::UnixMs;
use crate::domain::trace::Trace;

/// What nodes tell each other.
#[derive(Debug, Clone)]
pub enum BusMessage {
    /// A room's next revision.
    Room(RoomId, Arc<RoomDelta>),
    /// Seats of a performance changed: read them again.
    Seats { performance: ResourceId },
    /// Concerts, performances, or which rooms protect them changed in SQL.
    CatalogChanged,
    /// A performance of this concert became sold out, or ceased to be. The mark is
    /// this turn's own: whoever hears it twice knows it again.
    SoldOutTurned { concert: ResourceId, mark: u64 },
    /// A room's policy or switches changed in SQL: read the row again.
    RoomChanged(RoomId),
    /// A campaign's terms or stock changed in SQL.
    CampaignChanged { campaign: ResourceId },
}

#[derive(Debug, Clone)]
pub enum BusEvent {
    Message(BusMessage),
    /// Messages may be missing, of any topic.
    Gap,
    /// Deltas of this room may be missing.
    RoomGap(RoomId),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    #[error("the event bus is unavailable")]
    Unavailable,
}

/// At most once, in order per room from one publisher.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// Hands a message over without waiting for anything, so that it may be
    /// called under a lock. What cannot be sent is lost, and counted.
    fn publish(&self, message: BusMessage);

    /// Brings this room's deltas to the subscriptions of this node from soon
    /// on; [`BusEvent::RoomGap`] says when, unless nothing can be missing.
    fn follow(&self, _room: &RoomId) {}

    /// Brings this room's deltas no more, from soon on.
    fn unfollow(&self, _room: &RoomId) {}

    /// Everything published from now on, of rooms that are followed.
    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError>;
}

#[async_trait]
pub trait BusSubscription: Send {
    /// The next event; `None` when the bus is gone. Cancel-safe.
    async fn next(&mut self) -> Option<BusEvent>;
}

/// An event that a business transaction left in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Unique: the consumer's inbox key.
    pub id: String,
    /// What the event is about, and the key of its order: `reservation:42`.
    pub aggregate: String,
    /// Rises with each event of the aggregate.
    pub version: u64,
    /// Dotted name: `payment.succeeded`.
    pub kind: String,
    /// JSON body.
    pub payload: String,
    /// By the database's clock.
    pub created_at: UnixMs,
    /// What the sink said of the aggregate's last event that it took.
    pub route: Option<u32>,
    /// Of the request that caused it, where that is known.
    pub trace: Option<Trace>,
}

/// What a sink did with one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there. A sink that must find the way of an aggregate again says
    /// what it goes by: it is handed back with the aggregate's next events.
    Taken { route: Option<u32> },
    /// It will never be taken: park it.
    Refused(String),
    /// Not tried, or not known: deliver it again.
    Later,
    /// What it is about cannot be served now: deliver it again after a pause,
    /// and what follows it of its aggregate. No other event waits for it.
    Waits,
}

/// What a sink did with a batch: one outcome per event, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub outcomes: Vec<Outcome>,
    /// Why some are [`Outcome::Later`].
    pub trouble: Option<String>,
}

impl Delivery {
    #[must_use]
    pub fn taken(batch: &[OutboxEvent]) -> Self {
        Self {
            outcomes: vec![Outcome::Taken { route: None }; batch.len()],
            trouble: None,
        }
    }

    #[must_use]
    pub fn later(batch: &[OutboxEvent], trouble: impl Into<String>) -> Self {
        Self {
            outcomes: vec![Outcome::Later; batch.len()],
            trouble: Some(trouble.into()),
        }
    }
}

/// Where the outbox's relay delivers: at least once, in order per aggregate.
///
/// Promises of every implementation, held by `bus::conformance`:
/// - What is answered as taken is there for its consumers.
/// - Of one aggregate no event is there before an earlier one of the batch that
///   was not refused: what follows one that is later or waits does so too.
/// - It answers within a time that it is configured with.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery;
}

/// What a consumer reads: an event, or what should have been one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Of what cannot be read: named by its place in the source.
    pub event: OutboxEvent,
    /// Why it cannot.
    pub unreadable: Option<String>,
}

/// Where a consumer reads on from what it has committed: at least once, in
/// order per aggregate.
#[async_trait]
pub trait EventSource: Send {
    /// The next events, at most `events_max`, once there is one. Cancel-safe.
    async fn next(&mut self, events_max: usize) -> Vec<Arrival>;

    /// Everything that was answered is consumed.
    fn commit(&mut self);

    /// Waits, without being taken for dead. Cancel-safe.
    async fn pause(&mut self, pause: Duration);
}

/// Where events are put that a consumer gave up, beside its own record.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// # Errors
    /// Why not: try again.
    async fn put(&self, consumer: &str, event: &OutboxEvent, why: &str) -> Result<(), String>;
}
