//! Raising a room's epoch, and reading all that its queue is rebuilt from.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::domain::ids::{LaneIndex, PlaceKey, RoomRef};
use crate::store::queue::DepartedPage;
use crate::store::rooms::{LaneRecord, RecoveredRoom, RoomsError};
use crate::store::sql::Tx;
use crate::store::sql::columns::{from_column, to_column};
use crate::store::sql::entity::{activation, departed_page, lane, room};

use super::activations::{self, ENDED};
use super::{records, unreadable};

/// Compare-and-set: of two who saw the same epoch, one raises it.
pub(super) async fn raise_epoch(
    tx: &Tx,
    room: &RoomRef,
    block: u64,
) -> Result<RecoveredRoom, RoomsError> {
    records::fence(tx, room).await?;
    room::Entity::update_many()
        .col_expr(room::Column::Epoch, Expr::col(room::Column::Epoch).add(1))
        .filter(room::Column::Id.eq(room.id.as_str()))
        .exec(tx)
        .await?;
    let lanes = lanes(tx, room, block).await?;
    lane::Entity::update_many()
        .col_expr(
            lane::Column::ReservedTo,
            Expr::col(lane::Column::ReservedTo).add(to_column(block)),
        )
        .filter(lane::Column::RoomId.eq(room.id.as_str()))
        .exec(tx)
        .await?;
    Ok(RecoveredRoom {
        room: records::load(tx, &room.id).await?,
        lanes,
        live: activations::live(tx, &room.id).await?,
        ended: ended(tx, room).await?,
        as_of: tx.now(),
    })
}

/// The lanes as they will be once `block` is reserved.
async fn lanes(tx: &Tx, room: &RoomRef, block: u64) -> Result<Vec<LaneRecord>, RoomsError> {
    let rows = lane::Entity::find()
        .filter(lane::Column::RoomId.eq(room.id.as_str()))
        .order_by_asc(lane::Column::Lane)
        .all(tx)
        .await?;
    let mut pages = departed_page::Entity::find()
        .filter(departed_page::Column::RoomId.eq(room.id.as_str()))
        .order_by_asc(departed_page::Column::Lane)
        .order_by_asc(departed_page::Column::Page)
        .all(tx)
        .await?
        .into_iter()
        .peekable();
    let mut lanes = Vec::with_capacity(rows.len());
    for row in rows {
        let mut departed = Vec::new();
        while let Some(page) = pages.next_if(|page| page.lane == row.lane) {
            departed.push(DepartedPage {
                lane: lane_index(page.lane)?,
                page: u32::try_from(page.page).map_err(|_| unreadable("departed_pages.page"))?,
                bits: page.bits,
            });
        }
        let served = activation::Entity::find()
            .filter(activation::Column::RoomId.eq(room.id.as_str()))
            .filter(activation::Column::Lane.eq(row.lane))
            // A place that was revoked while it waited was not served.
            .filter(
                activation::Column::ClaimBy
                    .is_not_null()
                    .or(activation::Column::ExpireTime.is_not_null()),
            )
            .count(tx)
            .await?;
        let issued_to = from_column(row.reserved_to);
        lanes.push(LaneRecord {
            issued_to,
            reserved_to: issued_to.saturating_add(block),
            departed,
            served,
        });
    }
    Ok(lanes)
}

async fn ended(tx: &Tx, room: &RoomRef) -> Result<Vec<PlaceKey>, RoomsError> {
    let keys: Vec<(i64, i64)> = activation::Entity::find()
        .select_only()
        .column(activation::Column::Lane)
        .column(activation::Column::Number)
        .filter(activation::Column::RoomId.eq(room.id.as_str()))
        .filter(activation::Column::State.eq(ENDED))
        .order_by_asc(activation::Column::Lane)
        .order_by_asc(activation::Column::Number)
        .into_tuple()
        .all(tx)
        .await?;
    keys.into_iter()
        .map(|(lane, number)| {
            Ok(PlaceKey {
                lane: lane_index(lane)?,
                number: from_column(number),
            })
        })
        .collect()
}

fn lane_index(lane: i64) -> Result<LaneIndex, RoomsError> {
    LaneIndex::try_from(lane).map_err(|_| unreadable("lane"))
}
