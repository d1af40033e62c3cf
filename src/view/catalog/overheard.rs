//! This node's way to the bus, on which its catalog listens.

use std::sync::Arc;

use async_trait::async_trait;

use super::CatalogCache;
use crate::bus::{BusError, BusEvent, BusMessage, BusSubscription, EventBus};
use crate::domain::ids::RoomId;

pub struct Overheard {
    pub bus: Arc<dyn EventBus>,
    pub catalog: Arc<CatalogCache>,
}

#[async_trait]
impl EventBus for Overheard {
    fn publish(&self, message: BusMessage) {
        // The room's deltas are the most by far, and nothing to the catalog.
        if !matches!(message, BusMessage::Room(..)) {
            self.catalog.heard(&BusEvent::Message(message.clone()));
        }
        self.bus.publish(message);
    }

    fn follow(&self, room: &RoomId) {
        self.bus.follow(room);
    }

    fn unfollow(&self, room: &RoomId) {
        self.bus.unfollow(room);
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        self.bus.subscribe().await
    }
}
