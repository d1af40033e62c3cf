//! Seams to what carries events: between nodes ([`EventBus`]), and out of the
//! system ([`EventSink`]).
//!
//! The bus is a shortcut, never the truth: a reader that misses a message
//! notices by the cursor of the next tick and reads the store. So the bus may
//! lose messages, and says [`BusEvent::Gap`] when it knows that it did.

pub mod local;
pub mod redis;

#[cfg(test)]
pub(crate) mod conformance;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::delta::RoomDelta;
use crate::domain::ids::{ResourceId, RoomId};

/// What nodes tell each other.
#[derive(Debug, Clone)]
pub enum BusMessage {
    /// A room's next revision.
    Room(RoomId, Arc<RoomDelta>),
    /// Seats of a performance changed: read them again.
    Seats { performance: ResourceId },
    /// A room's policy or switches changed in SQL: read the row again.
    RoomChanged(RoomId),
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
    /// Rises by one per aggregate.
    pub version: u64,
    /// Dotted name: `payment.succeeded`.
    pub kind: String,
    /// JSON body.
    pub payload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Deliver again later.
    #[error("the event sink is unavailable: {0}")]
    Unavailable(String),
    /// This event will never be taken: park it.
    #[error("event {id} was refused: {why}")]
    Refused { id: String, why: String },
}

/// Where the outbox's relay delivers: at least once, in order per aggregate.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Returns when all of the batch is taken. After an error any part of the
    /// batch may have been taken; the relay delivers it again.
    async fn deliver(&self, batch: &[OutboxEvent]) -> Result<(), SinkError>;
}
