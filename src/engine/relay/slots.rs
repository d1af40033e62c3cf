//! What the outbox repeats to the queue: slots that a crash left taken, and
//! those who left while the queue was away.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::engine::error::EngineError;
use crate::engine::ticker::SlotReleaser;

/// The consumer that repeats `slot.freed` after a crash, and tells the queue
/// of those who left while it was away, then hands events on.
pub struct SlotConsumer {
    releaser: Arc<dyn SlotReleaser>,
    next: Arc<dyn EventSink>,
}

impl SlotConsumer {
    #[must_use]
    pub fn new(releaser: Arc<dyn SlotReleaser>, next: Arc<dyn EventSink>) -> Self {
        Self { releaser, next }
    }
}

/// Body of `slot.freed`.
#[derive(Deserialize)]
struct SlotFreed {
    activation_id: ActivationId,
    room_id: RoomId,
    reason: EndReason,
}

/// Body of `place.left`.
#[derive(Deserialize)]
struct PlaceLeft {
    room_id: RoomId,
    place: PlaceKey,
    user_id: UserId,
}

/// What the queue said of an event.
enum Told {
    Yes,
    /// It speaks of nothing that the queue could know.
    Unreadable(String),
    Away(String),
}

impl From<Result<(), EngineError>> for Told {
    fn from(told: Result<(), EngineError>) -> Self {
        told.map_or_else(|error| Self::Away(error.to_string()), |()| Self::Yes)
    }
}

impl SlotConsumer {
    async fn tell(&self, event: &OutboxEvent) -> Told {
        match event.kind.as_str() {
            "slot.freed" => match serde_json::from_str::<SlotFreed>(&event.payload) {
                Ok(freed) => self
                    .releaser
                    .release(&freed.room_id, freed.activation_id, freed.reason)
                    .await
                    .into(),
                Err(error) => Told::Unreadable(error.to_string()),
            },
            "place.left" => match serde_json::from_str::<PlaceLeft>(&event.payload) {
                Ok(left) => self
                    .releaser
                    .leave(&left.room_id, left.place, &left.user_id)
                    .await
                    .into(),
                Err(error) => Told::Unreadable(error.to_string()),
            },
            _ => Told::Yes,
        }
    }
}

#[async_trait]
impl EventSink for SlotConsumer {
    /// What the queue could not be told is later, and all behind it.
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let mut told = Vec::with_capacity(batch.len());
        let mut unreadable = Vec::new();
        let mut trouble = None;
        for (index, event) in batch.iter().enumerate() {
            match self.tell(event).await {
                Told::Yes => told.push(event.clone()),
                Told::Unreadable(why) => unreadable.push((index, why)),
                Told::Away(why) => {
                    trouble = Some(why);
                    break;
                }
            }
        }
        let mut delivery = self.next.deliver(&told).await;
        for (index, why) in unreadable {
            delivery.outcomes.insert(index, Outcome::Refused(why));
        }
        delivery.outcomes.resize(batch.len(), Outcome::Later);
        delivery.trouble = delivery.trouble.or(trouble);
        delivery
    }
}
