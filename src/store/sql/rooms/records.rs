//! A room's row, and the fence that every writer of a room passes first.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::domain::ids::{Number, RoomId, RoomRef};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::store::rooms::{DrawRecord, NewRoom, RoomRecord, RoomsError};
use crate::store::sql::Tx;
use crate::store::sql::columns::{from_column, time_from_column, time_to_column, to_column};
use crate::store::sql::entity::{lane, room};
use crate::store::sql::unit::insert_missing;

use super::{lanes, protects, unreadable};

/// Lets only writers of the room's present epoch through, and holds off
/// whoever would raise it until this unit is over.
pub(super) async fn fence(tx: &Tx, room: &RoomRef) -> Result<(), RoomsError> {
    let epoch: Option<i64> = room::Entity::find_by_id(room.id.as_str())
        .select_only()
        .column(room::Column::Epoch)
        .filter(room::Column::ForgottenAt.is_null())
        .lock_exclusive()
        .into_tuple()
        .one(tx)
        .await?;
    match epoch {
        None => Err(RoomsError::UnknownRoom),
        Some(epoch) if from_column(epoch) == room.epoch => Ok(()),
        Some(_) => Err(RoomsError::Fenced),
    }
}

pub async fn create(tx: &Tx, new: &NewRoom) -> Result<RoomRecord, RoomsError> {
    let secret = Some(new.draw_secret.to_vec());
    let row = room::ActiveModel {
        id: Set(new.id.as_str().to_owned()),
        display_name: Set(new.display_name.clone()),
        // A room is served for the first time in epoch 1.
        epoch: Set(0),
        version: Set(1),
        policy: Set(policy_text(&new.policy)?),
        opened: Set(false),
        paused: Set(false),
        sold_out: Set(false),
        closed: Set(false),
        message: Set(String::new()),
        resumes_at: Set(None),
        draw_secret: Set(secret.filter(|_| new.policy.order == ServingOrder::Draw)),
        created_at: Set(time_to_column(tx.now())),
        closed_at: Set(None),
        forgotten_at: Set(None),
    };
    if insert_missing(tx, [row]).await? == 0 {
        return Err(RoomsError::RoomExists);
    }
    lanes::add_missing(tx, &new.id, new.policy.lanes.len()).await?;
    protects::replace(tx, &new.id, &new.policy.protects).await?;
    load(tx, &new.id).await
}

pub(super) async fn update(tx: &Tx, to: &RoomRecord) -> Result<RoomRecord, RoomsError> {
    let switches = &to.switches;
    let mut change = room::ActiveModel {
        display_name: Set(to.display_name.clone()),
        policy: Set(policy_text(&to.policy)?),
        opened: Set(switches.opened),
        paused: Set(switches.paused),
        sold_out: Set(switches.sold_out),
        closed: Set(switches.closed),
        message: Set(switches.message.clone()),
        resumes_at: Set(switches.resumes_at.map(time_to_column)),
        ..Default::default()
    };
    if to.policy.order == ServingOrder::Fifo {
        change.draw_secret = Set(None);
    }
    let mut update = room::Entity::update_many().set(change);
    if switches.closed {
        let first = Expr::col(room::Column::ClosedAt).if_null(time_to_column(tx.now()));
        update = update.col_expr(room::Column::ClosedAt, first);
    }
    let updated = update
        .col_expr(
            room::Column::Version,
            Expr::col(room::Column::Version).add(1),
        )
        .filter(room::Column::Id.eq(to.id.as_str()))
        .filter(room::Column::Version.eq(to_column(to.version)))
        .filter(room::Column::ForgottenAt.is_null())
        .exec(tx)
        .await?;
    if updated.rows_affected == 0 {
        // Tells an unknown room from a changed one.
        load(tx, &to.id).await?;
        return Err(RoomsError::EtagMismatch);
    }
    keep_first_secret(tx, to).await?;
    lanes::add_missing(tx, &to.id, to.policy.lanes.len()).await?;
    protects::replace(tx, &to.id, &to.policy.protects).await?;
    load(tx, &to.id).await
}

/// A room that became a DRAW gets a secret; one that has a secret keeps it,
/// since its hash may be public.
async fn keep_first_secret(tx: &Tx, to: &RoomRecord) -> Result<(), RoomsError> {
    if let (ServingOrder::Draw, Some(draw)) = (to.policy.order, &to.draw) {
        room::Entity::update_many()
            .set(room::ActiveModel {
                draw_secret: Set(Some(draw.secret.to_vec())),
                ..Default::default()
            })
            .filter(room::Column::Id.eq(to.id.as_str()))
            .filter(room::Column::DrawSecret.is_null())
            .exec(tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn load(tx: &Tx, id: &RoomId) -> Result<RoomRecord, RoomsError> {
    let row = room::Entity::find_by_id(id.as_str())
        .filter(room::Column::ForgottenAt.is_null())
        .one(tx)
        .await?
        .ok_or(RoomsError::UnknownRoom)?;
    let lanes = lane::Entity::find()
        .filter(lane::Column::RoomId.eq(id.as_str()))
        .order_by_asc(lane::Column::Lane)
        .all(tx)
        .await?;
    record(row, &lanes)
}

pub(super) async fn load_all(tx: &Tx) -> Result<Vec<RoomRecord>, RoomsError> {
    let rows = room::Entity::find()
        .filter(room::Column::ForgottenAt.is_null())
        .order_by_asc(room::Column::Id)
        .all(tx)
        .await?;
    let lanes = lane::Entity::find()
        .order_by_asc(lane::Column::RoomId)
        .order_by_asc(lane::Column::Lane)
        .all(tx)
        .await?;
    rows.into_iter()
        .map(|row| {
            let from = lanes.partition_point(|lane| lane.room_id < row.id);
            let to = lanes.partition_point(|lane| lane.room_id <= row.id);
            record(row, &lanes[from..to])
        })
        .collect()
}

fn record(row: room::Model, lanes: &[lane::Model]) -> Result<RoomRecord, RoomsError> {
    let draw = match row.draw_secret {
        None => None,
        Some(secret) => Some(DrawRecord {
            secret: secret
                .try_into()
                .map_err(|_| unreadable("rooms.draw_secret"))?,
            participants: participants(lanes),
        }),
    };
    Ok(RoomRecord {
        id: RoomId::parse(&row.id).map_err(|_| unreadable("rooms.id"))?,
        display_name: row.display_name,
        epoch: from_column(row.epoch),
        version: from_column(row.version),
        policy: serde_json::from_str(&row.policy).map_err(|_| unreadable("rooms.policy"))?,
        switches: RoomSwitches {
            opened: row.opened,
            paused: row.paused,
            sold_out: row.sold_out,
            closed: row.closed,
            message: row.message,
            resumes_at: row.resumes_at.map(time_from_column),
        },
        draw,
        created_at: time_from_column(row.created_at),
    })
}

/// N per lane once it is fixed, else nothing. A lane that was added later had
/// no participants.
pub(super) fn participants(lanes: &[lane::Model]) -> Vec<Number> {
    if lanes.iter().all(|lane| lane.participants.is_none()) {
        return Vec::new();
    }
    lanes
        .iter()
        .map(|lane| lane.participants.map_or(0, from_column))
        .collect()
}

fn policy_text(policy: &RoomPolicy) -> Result<String, RoomsError> {
    serde_json::to_string(policy).map_err(|_| unreadable("rooms.policy"))
}
