//! Lanes: how far numbers are reserved, which have departed, the draw's N.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder};
use serde_json::json;

use crate::domain::ids::{LaneIndex, Number, PlaceKey, RoomId, RoomRef, UserId};
use crate::store::queue::DepartedPage;
use crate::store::rooms::RoomsError;
use crate::store::sql::columns::{from_column, to_column};
use crate::store::sql::entity::{departed_page, lane, room as rooms};
use crate::store::sql::unit::insert_missing;
use crate::store::sql::{Tx, outbox};

use super::records::{fence, participants};

/// Pages per statement: a page is 4 KiB, and statements have a limit.
const PAGES_PER_STATEMENT: usize = 100;

pub(super) async fn add_missing(tx: &Tx, room: &RoomId, lanes: usize) -> Result<(), RoomsError> {
    let rows = (0..lanes).map(|index| lane::ActiveModel {
        room_id: Set(room.as_str().to_owned()),
        lane: Set(i64::try_from(index).unwrap_or(i64::MAX)),
        reserved_to: Set(0),
        participants: Set(None),
    });
    insert_missing(tx, rows).await?;
    Ok(())
}

pub(super) async fn reserve(
    tx: &Tx,
    room: &RoomRef,
    lane: LaneIndex,
    to: Number,
) -> Result<Number, RoomsError> {
    fence(tx, room).await?;
    set_reserved(
        tx,
        room,
        lane,
        to,
        lane::Column::ReservedTo.lt(to_column(to)),
    )
    .await?;
    let row = lane::Entity::find_by_id((room.id.as_str().to_owned(), i64::from(lane)))
        .one(tx)
        .await?
        .ok_or(RoomsError::UnknownRoom)?;
    Ok(from_column(row.reserved_to))
}

pub(super) async fn give_back(
    tx: &Tx,
    room: &RoomRef,
    lane: LaneIndex,
    issued_to: Number,
) -> Result<(), RoomsError> {
    fence(tx, room).await?;
    let is_more = lane::Column::ReservedTo.gt(to_column(issued_to));
    set_reserved(tx, room, lane, issued_to, is_more).await
}

async fn set_reserved(
    tx: &Tx,
    room: &RoomRef,
    lane: LaneIndex,
    to: Number,
    only_if: Expr,
) -> Result<(), RoomsError> {
    lane::Entity::update_many()
        .set(lane::ActiveModel {
            reserved_to: Set(to_column(to)),
            ..Default::default()
        })
        .filter(lane::Column::RoomId.eq(room.id.as_str()))
        .filter(lane::Column::Lane.eq(i64::from(lane)))
        .filter(only_if)
        .exec(tx)
        .await?;
    Ok(())
}

/// What was departed stays so: the fence serializes writers of the room, so
/// nothing is lost between reading a page and writing it.
pub(super) async fn save_departed(
    tx: &Tx,
    room: &RoomRef,
    pages: &[DepartedPage],
) -> Result<(), RoomsError> {
    fence(tx, room).await?;
    let mut merged: HashMap<(i64, i64), Vec<u8>> = HashMap::new();
    for page in pages {
        let key = (i64::from(page.lane), i64::from(page.page));
        merge_bits(merged.entry(key).or_default(), &page.bits);
    }
    let mut keys: Vec<_> = merged.keys().copied().collect();
    keys.sort_unstable();
    for keys in keys.chunks(PAGES_PER_STATEMENT) {
        for stored in stored_pages(tx, &room.id, keys).await? {
            if let Some(bits) = merged.get_mut(&(stored.lane, stored.page)) {
                merge_bits(bits, &stored.bits);
            }
        }
        let rows = keys.iter().map(|&(lane, page)| departed_page::ActiveModel {
            room_id: Set(room.id.as_str().to_owned()),
            lane: Set(lane),
            page: Set(page),
            bits: Set(merged.remove(&(lane, page)).unwrap_or_default()),
        });
        let replace = OnConflict::columns([
            departed_page::Column::RoomId,
            departed_page::Column::Lane,
            departed_page::Column::Page,
        ])
        .update_column(departed_page::Column::Bits)
        .to_owned();
        departed_page::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn note_left(
    tx: &Tx,
    room: &RoomRef,
    place: PlaceKey,
    user: &UserId,
) -> Result<(), RoomsError> {
    save_departed(tx, room, &[DepartedPage::of(place)]).await?;
    let payload = json!({ "room_id": room.id, "place": place, "user_id": user });
    let aggregate = format!("place:{}/{}/{}", room.id, place.lane, place.number);
    outbox::append(tx, &aggregate, "place.left", &payload);
    Ok(())
}

async fn stored_pages(
    tx: &Tx,
    room: &RoomId,
    keys: &[(i64, i64)],
) -> Result<Vec<departed_page::Model>, RoomsError> {
    // A superset by two plain conditions; the caller matches keys.
    let lanes = keys.iter().map(|&(lane, _)| lane);
    let pages = keys.iter().map(|&(_, page)| page);
    Ok(departed_page::Entity::find()
        .filter(departed_page::Column::RoomId.eq(room.as_str()))
        .filter(departed_page::Column::Lane.is_in(lanes))
        .filter(departed_page::Column::Page.is_in(pages))
        .all(tx)
        .await?)
}

fn merge_bits(into: &mut Vec<u8>, more: &[u8]) {
    if into.len() < more.len() {
        into.resize(more.len(), 0);
    }
    for (byte, more) in into.iter_mut().zip(more) {
        *byte |= more;
    }
}

pub(super) async fn fix_draw(
    tx: &Tx,
    room: &RoomRef,
    n: &[Number],
) -> Result<Vec<Number>, RoomsError> {
    fence(tx, room).await?;
    let mut lanes = lane::Entity::find()
        .filter(lane::Column::RoomId.eq(room.id.as_str()))
        .order_by_asc(lane::Column::Lane)
        .all(tx)
        .await?;
    let fixed = participants(&lanes);
    if !fixed.is_empty() {
        return Ok(fixed);
    }
    for (index, lane) in lanes.iter_mut().enumerate() {
        let participants = Some(to_column(n.get(index).copied().unwrap_or(0)));
        lane.participants = participants;
        lane::Entity::update_many()
            .set(lane::ActiveModel {
                participants: Set(participants),
                ..Default::default()
            })
            .filter(lane::Column::RoomId.eq(room.id.as_str()))
            .filter(lane::Column::Lane.eq(lane.lane))
            .exec(tx)
            .await?;
    }
    // The row says more than the queue was told.
    rooms::Entity::update_many()
        .col_expr(
            rooms::Column::Version,
            Expr::col(rooms::Column::Version).add(1),
        )
        .filter(rooms::Column::Id.eq(room.id.as_str()))
        .exec(tx)
        .await?;
    Ok(participants(&lanes))
}

#[cfg(test)]
mod tests {
    use super::merge_bits;

    #[test]
    fn merged_pages_keep_every_bit_of_both() {
        let mut bits = vec![0b0001];
        merge_bits(&mut bits, &[0b0100, 0, 0b1000]);
        merge_bits(&mut bits, &[]);
        assert_eq!(bits, [0b0101, 0, 0b1000]);
    }
}
