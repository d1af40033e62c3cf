//! Granted and revoked places: rows that an operator decides.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::json;

use crate::domain::ids::{ActivationId, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::store::rooms::grants::{Grants, OperatorTurn};
use crate::store::rooms::{ActivationRow, ActivationState, EndCondition, RoomsError};
use crate::store::sales::SalesError;
use crate::store::sql::columns::{time_to_column, to_column};
use crate::store::sql::entity::activation::{self, Column};
use crate::store::sql::idempotency::Slot;
use crate::store::sql::unit::insert_missing;
use crate::store::sql::{SqlStore, Tx, outbox};

use super::activations::{self, ACTIVATED, ACTIVE, ENDED, change, free_slot};
use super::records::fence;
use super::unreadable;

/// The row that the same request decided before.
async fn replay(tx: &Tx, turn: &OperatorTurn) -> Result<Option<ActivationRow>, RoomsError> {
    let slot = Slot::of(&turn.asked).map_err(key_error)?;
    let Some(kept) = slot.replay::<Vec<u8>>(tx).await.map_err(key_error)? else {
        return Ok(None);
    };
    let id = activation_id(&kept).ok_or_else(|| unreadable("idempotency.response"))?;
    Ok(Some(activations::load(tx, id).await?))
}

fn keep(tx: &Tx, turn: &OperatorTurn, row: &ActivationRow) -> Result<(), RoomsError> {
    let slot = Slot::of(&turn.asked).map_err(key_error)?;
    let id = row.id.to_string().into_bytes();
    slot.keep(tx, id).map_err(key_error)?;
    Ok(())
}

fn key_error(error: SalesError) -> RoomsError {
    match error {
        SalesError::IdempotencyKeyReused => RoomsError::KeyReused,
        error => RoomsError::Unavailable(error.to_string()),
    }
}

/// As [`keep`] wrote it.
fn activation_id(kept: &[u8]) -> Option<ActivationId> {
    let text = std::str::from_utf8(kept).ok()?;
    text.parse().ok().map(ActivationId)
}

/// Writes `row` unless the place has one; whether it was written.
async fn insert(tx: &Tx, row: activation::ActiveModel) -> Result<bool, RoomsError> {
    Ok(insert_missing(tx, [row]).await? > 0)
}

/// What every row has, whatever became of its place.
fn row_of(tx: &Tx, room: &RoomRef, turn: &OperatorTurn, state: &str) -> activation::ActiveModel {
    activation::ActiveModel {
        id: Set(turn.id.to_string()),
        room_id: Set(room.id.as_str().to_owned()),
        lane: Set(i64::from(turn.place.lane)),
        number: Set(to_column(turn.place.number)),
        user_id: Set(turn.user.as_str().to_owned()),
        state: Set(state.to_owned()),
        reason: Set(None),
        activated_at: Set(time_to_column(tx.now())),
        claim_by: Set(None),
        claimed_at: Set(None),
        expire_time: Set(None),
        ended_at: Set(None),
    }
}

async fn row_now(
    tx: &Tx,
    room: &RoomRef,
    turn: &OperatorTurn,
) -> Result<ActivationRow, RoomsError> {
    activations::find(tx, &room.id, turn.place)
        .await?
        .filter(|row| row.user == turn.user)
        .ok_or_else(|| unreadable("an activation is another place's or user's"))
}

/// For the record: who did it, to whom, and why. Said before the slot is freed:
/// nothing follows that.
fn tell(tx: &Tx, kind: &str, room: &RoomRef, turn: &OperatorTurn, id: ActivationId) {
    let payload = json!({
        "activation_id": id,
        "room_id": room.id,
        "lane": turn.place.lane,
        "number": turn.place.number,
        "user_id": turn.user,
        "reason": turn.reason,
        "by": turn.asked.once.user,
    });
    outbox::append(tx, &format!("activation:{id}"), kind, &payload);
}

async fn grant(
    tx: &Tx,
    room: &RoomRef,
    turn: &OperatorTurn,
    ttl_ms: u64,
) -> Result<ActivationRow, RoomsError> {
    fence(tx, room).await?;
    if let Some(row) = replay(tx, turn).await? {
        return Ok(row);
    }
    let now = time_to_column(tx.now());
    let until = Some(time_to_column(tx.now().plus_ms(ttl_ms)));
    let granted = activation::ActiveModel {
        claimed_at: Set(Some(now)),
        expire_time: Set(until),
        ..row_of(tx, room, turn, ACTIVE)
    };
    if !insert(tx, granted).await? {
        let before = row_now(tx, room, turn).await?;
        let active = activation::ActiveModel {
            state: Set(ACTIVE.to_owned()),
            claimed_at: Set(Some(now)),
            expire_time: Set(until),
            ..Default::default()
        };
        let in_time = Column::State.eq(ACTIVATED).and(Column::ClaimBy.gt(now));
        change(tx, before.id, active, in_time).await?;
        // Where its time is over, the row says so from now on.
        activations::end(tx, before.id, EndCondition::IfExpired).await?;
    }
    let row = row_now(tx, room, turn).await?;
    if row.state == ActivationState::Active {
        tell(tx, "place.granted", room, turn, row.id);
        keep(tx, turn, &row)?;
    }
    Ok(row)
}

async fn revoke(tx: &Tx, room: &RoomRef, turn: &OperatorTurn) -> Result<ActivationRow, RoomsError> {
    fence(tx, room).await?;
    if let Some(row) = replay(tx, turn).await? {
        return Ok(row);
    }
    let never_activated = activation::ActiveModel {
        reason: Set(Some(EndReason::Revoked.as_str().to_owned())),
        ended_at: Set(Some(time_to_column(tx.now()))),
        ..row_of(tx, room, turn, ENDED)
    };
    if insert(tx, never_activated).await? {
        tell(tx, "place.revoked", room, turn, turn.id);
        free_slot(tx, turn.id, &room.id, EndReason::Revoked);
    } else {
        let before = row_now(tx, room, turn).await?;
        if matches!(before.state, ActivationState::Ended(_)) {
            return Ok(before);
        }
        tell(tx, "place.revoked", room, turn, before.id);
        let always = EndCondition::Always(EndReason::Revoked);
        activations::end(tx, before.id, always).await?;
    }
    let row = row_now(tx, room, turn).await?;
    keep(tx, turn, &row)?;
    Ok(row)
}

async fn live_of(
    tx: &Tx,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<ActivationRow>, RoomsError> {
    let row = activation::Entity::find()
        .filter(Column::RoomId.eq(room.as_str()))
        .filter(Column::UserId.eq(user.as_str()))
        .filter(Column::State.is_in([ACTIVATED, ACTIVE]))
        .order_by_desc(Column::ActivatedAt)
        .one(tx)
        .await?;
    row.map(|row| activations::decode(tx, row)).transpose()
}

#[async_trait]
impl Grants for SqlStore {
    async fn live_activation_of(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<ActivationRow>, RoomsError> {
        self.read((room.clone(), user.clone()), |tx, (room, user)| {
            live_of(tx, room, user).boxed()
        })
        .await
    }

    async fn grant_activation(
        &self,
        room: &RoomRef,
        turn: OperatorTurn,
        ttl_ms: u64,
    ) -> Result<ActivationRow, RoomsError> {
        self.write((room.clone(), turn, ttl_ms), |tx, (room, turn, ttl_ms)| {
            grant(tx, room, turn, *ttl_ms).boxed()
        })
        .await
    }

    async fn revoke_place(
        &self,
        room: &RoomRef,
        turn: OperatorTurn,
    ) -> Result<ActivationRow, RoomsError> {
        self.write((room.clone(), turn), |tx, (room, turn)| {
            revoke(tx, room, turn).boxed()
        })
        .await
    }
}
