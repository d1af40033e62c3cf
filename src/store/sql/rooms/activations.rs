//! Activation rows. Every change of state is one conditional update whose
//! condition includes the time, so of two racers one changes the row and the
//! other reads what became of it.
//!
//! An activation is over at the very millisecond of `claim_by` or
//! `expire_time`, not after it.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use crate::domain::ids::{ActivationId, LaneIndex, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::store::rooms::{
    ActivationRow, ActivationState, Claimed, EndCondition, NewActivation, RoomsError,
};
use crate::store::sql::columns::{from_column, time_from_column, time_to_column, to_column};
use crate::store::sql::entity::activation::{self, Column};
use crate::store::sql::list::{Column as ListColumn, List, Update};
use crate::store::sql::outbox::Event;
use crate::store::sql::unit::insert_missing;
use crate::store::sql::{Tx, locks, outbox};

use super::records::fence;
use super::unreadable;

pub(super) const ACTIVATED: &str = "activated";
pub(super) const ACTIVE: &str = "active";
pub(super) const ENDED: &str = "ended";

const ENDED_IDS: &[ListColumn] = &[ListColumn::Text("pass")];

const END_ACTIVE: Update = Update {
    table: "activations",
    set: "state = 'ended', reason = $1, ended_at = $2",
    on: "activations.id = v.pass AND COALESCE(activations.state, '') = 'active'",
};

/// Rows per statement, for the sake of the limit on parameters.
const ROWS_PER_STATEMENT: usize = 200;

/// What the room's policy grants with a turn.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub claim_window_ms: u64,
    pub pass_ttl_ms: u64,
}

pub(super) async fn insert(
    tx: &Tx,
    room: &RoomRef,
    places: &[NewActivation],
    terms: Terms,
) -> Result<Vec<ActivationRow>, RoomsError> {
    fence(tx, room).await?;
    let mut rows = HashMap::with_capacity(places.len());
    for places in places.chunks(ROWS_PER_STATEMENT) {
        let new = places.iter().map(|place| new_row(tx, room, place, terms));
        insert_missing(tx, new).await?;
        for row in of_places(tx, &room.id, places.iter().map(|new| new.place)).await? {
            rows.insert(row.place, row);
        }
    }
    places
        .iter()
        .map(|new| rows.get(&new.place).cloned())
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable("an activation's id is another place's"))
}

fn new_row(tx: &Tx, room: &RoomRef, new: &NewActivation, terms: Terms) -> activation::ActiveModel {
    let now = tx.now();
    let needs_claim = terms.claim_window_ms > 0;
    let claim_by = needs_claim.then(|| time_to_column(now.plus_ms(terms.claim_window_ms)));
    let expire_time = (!needs_claim).then(|| time_to_column(now.plus_ms(terms.pass_ttl_ms)));
    activation::ActiveModel {
        id: Set(new.id.to_string()),
        room_id: Set(room.id.as_str().to_owned()),
        lane: Set(i64::from(new.place.lane)),
        number: Set(to_column(new.place.number)),
        user_id: Set(new.user.as_str().to_owned()),
        state: Set(if needs_claim { ACTIVATED } else { ACTIVE }.to_owned()),
        reason: Set(None),
        activated_at: Set(time_to_column(now)),
        claim_by: Set(claim_by),
        claimed_at: Set((!needs_claim).then(|| time_to_column(now))),
        expire_time: Set(expire_time),
        ended_at: Set(None),
    }
}

pub(in crate::store::sql) async fn claim(
    tx: &Tx,
    id: ActivationId,
    pass_ttl_ms: u64,
) -> Result<Claimed, RoomsError> {
    locks::activations(tx, [id]).await?;
    let now = time_to_column(tx.now());
    let claimed = activation::ActiveModel {
        state: Set(ACTIVE.to_owned()),
        claimed_at: Set(Some(now)),
        expire_time: Set(Some(time_to_column(tx.now().plus_ms(pass_ttl_ms)))),
        ..Default::default()
    };
    let in_time = Column::State.eq(ACTIVATED).and(Column::ClaimBy.gt(now));
    change(tx, id, claimed, in_time).await?;
    // Where the window or the pass is over, the row says so from now on.
    let row = end(tx, id, EndCondition::IfExpired).await?;
    Ok(match row.state {
        ActivationState::Active => Claimed::Active(row),
        ActivationState::Ended(EndReason::Unclaimed) | ActivationState::Activated => {
            Claimed::Late(row)
        }
        ActivationState::Ended(_) => Claimed::Ended(row),
    })
}

/// Ends an activation in the caller's own transaction, with its `slot.freed`
/// event.
///
/// # Errors
/// [`RoomsError::UnknownActivation`], [`RoomsError::Unavailable`].
pub async fn end(
    tx: &Tx,
    id: ActivationId,
    condition: EndCondition,
) -> Result<ActivationRow, RoomsError> {
    locks::activations(tx, [id]).await?;
    let now = time_to_column(tx.now());
    let ends: Vec<(EndReason, Expr)> = match condition {
        EndCondition::Always(reason) => vec![(reason, Column::State.ne(ENDED))],
        EndCondition::IfExpired => vec![
            (
                EndReason::Unclaimed,
                Column::State.eq(ACTIVATED).and(Column::ClaimBy.lte(now)),
            ),
            (
                EndReason::PassExpired,
                Column::State.eq(ACTIVE).and(Column::ExpireTime.lte(now)),
            ),
        ],
    };
    let mut ended_now = false;
    for (reason, holds) in ends {
        let ended = activation::ActiveModel {
            state: Set(ENDED.to_owned()),
            reason: Set(Some(reason.as_str().to_owned())),
            ended_at: Set(Some(now)),
            ..Default::default()
        };
        ended_now |= change(tx, id, ended, holds).await?;
    }
    let row = load(tx, id).await?;
    if let (true, ActivationState::Ended(reason)) = (ended_now, row.state) {
        free_slot(tx, id, &row.room, reason);
    }
    Ok(row)
}

/// As [`end`], for some that the caller has locked and read in this transaction
/// as ACTIVE: payments complete their passes this way.
pub fn end_active<'a>(
    tx: &Tx,
    passes: impl Iterator<Item = (ActivationId, &'a RoomId)>,
    reason: EndReason,
) -> Vec<Event> {
    let (mut ids, mut events) = (List::new(ENDED_IDS), Vec::new());
    for (id, room) in passes {
        ids.push([id.to_string().into()]);
        events.push(slot_freed(id, room, reason));
    }
    let values = [reason.as_str().into(), time_to_column(tx.now()).into()];
    ids.update(tx, &END_ACTIVE, values);
    events
}

pub(super) fn free_slot(tx: &Tx, id: ActivationId, room: &RoomId, reason: EndReason) {
    let event = slot_freed(id, room, reason);
    outbox::append(tx, &event.aggregate, event.kind, &event.payload);
}

fn slot_freed(id: ActivationId, room: &RoomId, reason: EndReason) -> Event {
    Event {
        aggregate: format!("activation:{id}"),
        kind: "slot.freed",
        payload: json!({
            "activation_id": id,
            "room_id": room,
            "reason": reason,
        }),
        trace: None,
    }
}

/// Whether the row was there in the state that `only_if` asks for.
pub(super) async fn change(
    tx: &Tx,
    id: ActivationId,
    to: activation::ActiveModel,
    only_if: Expr,
) -> Result<bool, RoomsError> {
    let changed = activation::Entity::update_many()
        .set(to)
        .filter(Column::Id.eq(id.to_string()))
        .filter(only_if)
        .exec(tx)
        .await?;
    Ok(changed.rows_affected > 0)
}

/// # Errors
/// [`RoomsError::UnknownActivation`], [`RoomsError::Unavailable`].
pub async fn load(tx: &Tx, id: ActivationId) -> Result<ActivationRow, RoomsError> {
    let row = activation::Entity::find_by_id(id.to_string())
        .one(tx)
        .await?
        .ok_or(RoomsError::UnknownActivation)?;
    decode(tx, row)
}

pub(super) async fn find(
    tx: &Tx,
    room: &RoomId,
    place: PlaceKey,
) -> Result<Option<ActivationRow>, RoomsError> {
    Ok(of_places(tx, room, [place].into_iter()).await?.pop())
}

/// None of them ends before this unit is over: what else it reads of them
/// agrees.
pub(super) async fn live(tx: &Tx, room: &RoomId) -> Result<Vec<ActivationRow>, RoomsError> {
    let rows = activation::Entity::find()
        .filter(Column::RoomId.eq(room.as_str()))
        .filter(Column::State.is_in([ACTIVATED, ACTIVE]))
        .order_by_asc(Column::Lane)
        .order_by_asc(Column::Number)
        .lock_shared()
        .all(tx)
        .await?;
    rows.into_iter().map(|row| decode(tx, row)).collect()
}

async fn of_places(
    tx: &Tx,
    room: &RoomId,
    places: impl Iterator<Item = PlaceKey>,
) -> Result<Vec<ActivationRow>, RoomsError> {
    let mut any = Condition::any();
    for place in places {
        let is_place = Column::Lane
            .eq(i64::from(place.lane))
            .and(Column::Number.eq(to_column(place.number)));
        any = any.add(Column::RoomId.eq(room.as_str()).and(is_place));
    }
    let rows = activation::Entity::find().filter(any).all(tx).await?;
    rows.into_iter().map(|row| decode(tx, row)).collect()
}

pub(super) fn decode(tx: &Tx, row: activation::Model) -> Result<ActivationRow, RoomsError> {
    let reason = row.reason.as_deref().and_then(EndReason::from_name);
    let state = match (row.state.as_str(), reason) {
        (ACTIVATED, None) => ActivationState::Activated,
        (ACTIVE, None) => ActivationState::Active,
        (ENDED, Some(reason)) => ActivationState::Ended(reason),
        _ => return Err(unreadable("activations.state")),
    };
    Ok(ActivationRow {
        id: ActivationId(Uuid::parse_str(&row.id).map_err(|_| unreadable("activations.id"))?),
        room: RoomId::parse(&row.room_id).map_err(|_| unreadable("activations.room_id"))?,
        place: PlaceKey {
            lane: LaneIndex::try_from(row.lane).map_err(|_| unreadable("activations.lane"))?,
            number: from_column(row.number),
        },
        user: UserId::parse(&row.user_id).map_err(|_| unreadable("activations.user_id"))?,
        state,
        activated_at: time_from_column(row.activated_at),
        claim_by: row.claim_by.map(time_from_column),
        claimed_at: row.claimed_at.map(time_from_column),
        expire_time: row.expire_time.map(time_from_column),
        as_of: tx.now(),
    })
}
