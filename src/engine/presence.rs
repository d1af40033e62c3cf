//! Presence is the stream: what the hub says of first and last streams goes to
//! the queue store in batches.

use crate::domain::ids::{PlaceKey, RoomId, UserId};

use super::error::EngineError;
use super::ticker::Engine;

impl Engine {
    /// These places have a stream here.
    ///
    /// # Errors
    /// [`EngineError::Degraded`]; say it again.
    pub async fn streams_opened(
        &self,
        room: &RoomId,
        places: Vec<(PlaceKey, UserId)>,
    ) -> Result<(), EngineError> {
        let room = self.rooms.get(room)?;
        let places = &places;
        self.with_room(&room, |room_ref| {
            Box::pin(async move {
                self.queue
                    .present(&room_ref, places.clone(), self.settings.incarnation)
                    .await
            })
        })
        .await?;
        room.wake();
        Ok(())
    }

    /// The last streams of these places ended here.
    ///
    /// # Errors
    /// [`EngineError::Degraded`]; say it again.
    pub async fn streams_ended(
        &self,
        room: &RoomId,
        places: Vec<(PlaceKey, UserId)>,
    ) -> Result<(), EngineError> {
        let room = self.rooms.get(room)?;
        let places = &places;
        self.with_room(&room, |room_ref| {
            Box::pin(async move {
                self.queue
                    .absent(&room_ref, places.clone(), self.settings.incarnation)
                    .await
            })
        })
        .await?;
        room.wake();
        Ok(())
    }
}
