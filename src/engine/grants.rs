//! Operators let a user in, or end what a user has.
//!
//! Granting goes the way of a pick: the queue takes the slot, SQL gets the row,
//! the queue is told. Revoking goes the other way: SQL ends the row, whether
//! the place had its turn or not, and whatever the queue does meanwhile it can
//! only find the place over. What a crash leaves untold is told by the outbox
//! or a tick.

use std::sync::Arc;

use crate::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::domain::room::grant::GrantOutcome;
use crate::store::queue::QueueError;
use crate::store::rooms::grants::OperatorTurn;
use crate::store::rooms::{ActivationRow, ActivationState, RoomsError};
use crate::store::sales::Asked;
use crate::truth::failpoint::Point;

use super::error::EngineError;
use super::recovery::{again_if_rebuilt, confirm_row};
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// Tries of a command whose room or row changes under it.
const ATTEMPTS_MAX: u32 = 8;

/// An operator's command about one user.
#[derive(Debug, Clone)]
pub struct AboutUser {
    pub room: RoomId,
    pub user: UserId,
    pub reason: String,
    pub asked: Asked,
}

impl AboutUser {
    fn turn(&self, id: ActivationId, place: PlaceKey) -> OperatorTurn {
        OperatorTurn {
            id,
            place,
            user: self.user.clone(),
            reason: self.reason.clone(),
            asked: self.asked.clone(),
        }
    }
}

impl Engine {
    /// Activates the user for `ttl_ms`: the live waiting place out of turn, else
    /// a fresh number. A turn that the user has is theirs already: unclaimed it
    /// becomes ACTIVE for `ttl_ms`, claimed it stays.
    ///
    /// # Errors
    /// [`QueueError::Closed`], [`QueueError::NoSlot`]; a rebuild;
    /// [`EngineError::Degraded`].
    pub async fn grant_place(
        self: &Arc<Self>,
        about: AboutUser,
        ttl_ms: u64,
    ) -> Result<ActivationRow, EngineError> {
        let room = self.serving(&about.room)?;
        self.change_if_due(&room).await?;
        // To its end even if the caller goes away: the slot is taken first.
        let engine = Arc::clone(self);
        let granting = async move { engine.grant(&room, &about, ttl_ms).await };
        let granted = self.tasks.spawn(granting).await;
        granted.unwrap_or(Err(EngineError::Degraded))
    }

    async fn grant(
        &self,
        room: &RoomHandle,
        about: &AboutUser,
        ttl_ms: u64,
    ) -> Result<ActivationRow, EngineError> {
        for _attempt in 0..ATTEMPTS_MAX {
            // Before the slot is taken: of a later epoch it may be another's.
            let room_ref = room.room_ref();
            let Some(place) = self.take_slot(room, &about.user).await? else {
                continue;
            };
            self.failpoints.hit(Point::NumbersGranted).await?;
            let turn = about.turn(ActivationId(self.entropy.uuid()), place);
            match self
                .registry
                .grant_activation(&room_ref, turn, ttl_ms)
                .await
            {
                Err(RoomsError::Fenced) => room.update(self.registry.room(&room.id).await?),
                row => {
                    let row = row?;
                    self.failpoints.hit(Point::RowsCommitted).await?;
                    self.bring(room, &row).await;
                    // One that is over was not granted: its user has no place.
                    if row.state == ActivationState::Active {
                        return Ok(row);
                    }
                }
            }
        }
        Err(EngineError::Rebuilding)
    }

    /// The place that has a slot now; `None`: try again.
    async fn take_slot(
        &self,
        room: &RoomHandle,
        user: &UserId,
    ) -> Result<Option<PlaceKey>, EngineError> {
        let lane = room.record().policy.default_lane();
        let outcome = self
            .with_room(room, |room_ref| {
                Box::pin(async move {
                    match self.queue.grant_place(&room_ref, user, lane).await {
                        Err(again @ (QueueError::Recover | QueueError::Building)) => Err(again),
                        answer => Ok(answer),
                    }
                })
            })
            .await?;
        room.wake();
        match outcome {
            Ok(GrantOutcome::Granting(place)) => Ok(Some(place)),
            Ok(GrantOutcome::HasTurn(id)) => Ok(Some(self.registry.activation(id).await?.place)),
            Err(QueueError::NumbersExhausted { lane, reserve_to }) => {
                let _one_at_a_time = room.reserving.lock().await;
                let room_ref = room.room_ref();
                let reserved = self
                    .registry
                    .reserve_numbers(&room_ref, lane, reserve_to)
                    .await;
                match reserved {
                    Err(RoomsError::Fenced) => room.update(self.registry.room(&room.id).await?),
                    to => again_if_rebuilt(self.queue.reserve(&room_ref, lane, to?).await)?,
                }
                Ok(None)
            }
            Err(QueueError::Opening) => {
                tokio::task::yield_now().await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the user's live place or activation at once, as REVOKED. Holds stay.
    /// While the queue is away that is the row of who has a turn; the slot and
    /// the streams follow when it is back.
    ///
    /// # Errors
    /// [`EngineError::NoLivePlace`]; a rebuild; [`EngineError::Degraded`].
    pub async fn revoke_place(
        self: &Arc<Self>,
        about: AboutUser,
    ) -> Result<ActivationRow, EngineError> {
        let room = self.serving(&about.room)?;
        if !room.is_away() {
            self.change_if_due(&room).await?;
        }
        let engine = Arc::clone(self);
        let revoking = async move { engine.revoke(&room, &about).await };
        let revoked = self.tasks.spawn(revoking).await;
        revoked.unwrap_or(Err(EngineError::Degraded))
    }

    async fn revoke(
        &self,
        room: &RoomHandle,
        about: &AboutUser,
    ) -> Result<ActivationRow, EngineError> {
        for _attempt in 0..ATTEMPTS_MAX {
            let place = match self.live_place(room, &about.user).await {
                Err(EngineError::Degraded) if self.settings.is_shared => {
                    self.place_with_turn(room, &about.user).await?
                }
                place => place?,
            };
            let turn = about.turn(ActivationId(self.entropy.uuid()), place);
            match self.registry.revoke_place(&room.room_ref(), turn).await {
                Err(RoomsError::Fenced) => room.update(self.registry.room(&room.id).await?),
                row => {
                    let row = row?;
                    self.failpoints.hit(Point::RowsCommitted).await?;
                    self.bring(room, &row).await;
                    if row.state == ActivationState::Ended(EndReason::Revoked) {
                        return Ok(row);
                    }
                }
            }
        }
        Err(EngineError::NoLivePlace)
    }

    /// The queue is away. It alone knows who waits where; who has a turn SQL
    /// knows.
    async fn place_with_turn(
        &self,
        room: &RoomHandle,
        user: &UserId,
    ) -> Result<PlaceKey, EngineError> {
        let row = self.registry.live_activation_of(&room.id, user).await?;
        row.map(|row| row.place).ok_or(EngineError::Degraded)
    }

    /// While a room is rebuilt, nobody knows yet whose some places are.
    async fn live_place(&self, room: &RoomHandle, user: &UserId) -> Result<PlaceKey, EngineError> {
        let found = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.find(&room_ref, user).await })
            })
            .await?;
        if let Some(place) = found.filter(|place| place.standing.is_live()) {
            return Ok(place.key);
        }
        let snapshot = self
            .with_room(room, |room_ref| {
                Box::pin(async move { self.queue.snapshot(&room_ref).await })
            })
            .await?;
        match snapshot.facts.rebuilding {
            true => Err(EngineError::Rebuilding),
            false => Err(EngineError::NoLivePlace),
        }
    }

    /// A row that an earlier call decided; the queue may not have heard of it.
    ///
    /// # Errors
    /// [`EngineError::Degraded`].
    pub async fn decided(
        &self,
        room: &RoomId,
        id: ActivationId,
    ) -> Result<ActivationRow, EngineError> {
        let room = self.serving(room)?;
        let row = self.registry.activation(id).await?;
        self.bring(&room, &row).await;
        Ok(row)
    }

    /// Tells the queue what a row says now. It is committed: whoever fails to
    /// tell leaves it to the outbox and the ticks.
    async fn bring(&self, room: &RoomHandle, row: &ActivationRow) {
        if let Err(error) = self.try_bring(room, row).await {
            tracing::warn!(room.id = %room.id, error = %error, "row not passed on yet");
        }
    }

    /// Idempotent.
    pub(super) async fn try_bring(
        &self,
        room: &RoomHandle,
        row: &ActivationRow,
    ) -> Result<(), EngineError> {
        let confirm = &confirm_row(row);
        self.with_room(room, |room_ref| {
            Box::pin(async move {
                self.queue.confirm(&room_ref, vec![confirm.clone()]).await?;
                match row.state {
                    ActivationState::Ended(reason) => {
                        self.queue.free(&room_ref, row.id, reason).await
                    }
                    ActivationState::Activated | ActivationState::Active => {
                        self.queue.claim(&room_ref, confirm.clone()).await
                    }
                }
            })
        })
        .await?;
        room.wake();
        Ok(())
    }
}
