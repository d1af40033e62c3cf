//! Leaving, also while the queue is away.
//!
//! Then it goes to SQL: a turn ends by its row; a place that waits is noted as
//! departed, with an event that has the queue told once it is back. A recovery
//! meanwhile finds the note.

use std::sync::Arc;

use crate::domain::ids::{PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::store::queue::{LeaveOutcome, QueueError};
use crate::store::rooms::{ActivationState, EndCondition};

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

impl Engine {
    /// Ends a place or an activation at once; idempotent.
    ///
    /// # Errors
    /// [`QueueError::UnknownPlace`], [`EngineError::Degraded`].
    pub async fn leave(
        self: &Arc<Self>,
        room: &RoomId,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<(), EngineError> {
        let room = self.rooms.get(room)?;
        match self.leave_queue(&room, user, place).await {
            Err(EngineError::Degraded) if self.settings.is_shared => {
                self.leave_by_sql(&room, user, place).await
            }
            left => left,
        }
    }

    async fn leave_queue(
        self: &Arc<Self>,
        room: &Arc<RoomHandle>,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<(), EngineError> {
        let survivor = self.survivor(room, user, place).await?;
        let outcome = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.leave(&room_ref, survivor, user).await })
            })
            .await?;
        room.wake();
        if let LeaveOutcome::EndRowFirst(id) = outcome {
            let condition = EndCondition::Always(EndReason::Left);
            self.end(&room.room_ref(), id, condition).await?;
            self.tick_room(room).await?;
        }
        Ok(())
    }

    async fn leave_by_sql(
        &self,
        room: &RoomHandle,
        user: &UserId,
        place: PlaceKey,
    ) -> Result<(), EngineError> {
        let Some(row) = self.registry.activation_of(&room.id, place).await? else {
            self.registry
                .note_left(&room.room_ref(), place, user)
                .await?;
            return Ok(());
        };
        if row.user != *user {
            return Err(QueueError::UnknownPlace.into());
        }
        if !matches!(row.state, ActivationState::Ended(_)) {
            let condition = EndCondition::Always(EndReason::Left);
            // The row's own event frees the slot.
            self.registry.end_activation(row.id, condition).await?;
        }
        Ok(())
    }

    /// The queue hears of someone who left while it was away.
    pub(super) async fn leave_later(
        &self,
        room: &RoomId,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<(), EngineError> {
        let Ok(room) = self.rooms.get(room) else {
            return Ok(());
        };
        self.current(&room).await?;
        let left = self
            .with_room(&room, |room_ref| {
                Box::pin(async move { self.queue.leave(&room_ref, place, user).await })
            })
            .await;
        room.wake();
        match left {
            Ok(LeaveOutcome::EndRowFirst(id)) => {
                let condition = EndCondition::Always(EndReason::Left);
                self.end(&room.room_ref(), id, condition).await.map(drop)
            }
            // Never told to anyone.
            Ok(_) | Err(EngineError::Queue(QueueError::UnknownPlace)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
