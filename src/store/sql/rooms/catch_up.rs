//! Bringing a room's row as far as its queue has gone: SQL was set back, and
//! whoever is in line has numbers and epochs that it does not know.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::domain::ids::{Number, RoomId, RoomRef};
use crate::store::queue::KeptRoom;
use crate::store::rooms::RoomsError;
use crate::store::sql::Tx;
use crate::store::sql::columns::{from_column, to_column};
use crate::store::sql::entity::{lane, room as rooms};

use super::records;

/// How far the row is to go, if it is not there.
pub(super) struct Behind {
    pub row: RoomRef,
    epoch: u64,
    /// Lanes with too few numbers.
    lanes: Vec<(i64, Number)>,
}

/// A lane that the row does not have has no numbers that could be given.
pub(super) async fn behind(
    tx: &Tx,
    room: &RoomId,
    kept: &KeptRoom,
) -> Result<Option<Behind>, RoomsError> {
    let row = RoomRef {
        id: room.clone(),
        epoch: records::load(tx, room).await?.epoch,
    };
    let rows = lane::Entity::find()
        .filter(lane::Column::RoomId.eq(room.as_str()))
        .all(tx)
        .await?;
    let too_few = |row: &lane::Model| {
        let index = usize::try_from(row.lane).ok()?;
        let reached = *kept.reserved_to.get(index)?;
        (from_column(row.reserved_to) < reached).then_some((row.lane, reached))
    };
    let behind = Behind {
        epoch: kept.epoch.max(row.epoch),
        lanes: rows.iter().filter_map(too_few).collect(),
        row,
    };
    let is_behind = behind.epoch > behind.row.epoch || !behind.lanes.is_empty();
    Ok(is_behind.then_some(behind))
}

pub(super) async fn catch_up(
    tx: &Tx,
    room: &RoomId,
    kept: &KeptRoom,
) -> Result<RoomRef, RoomsError> {
    let epoch = records::load(tx, room).await?.epoch;
    let id = room.clone();
    // Before the lanes are read: whoever reserves numbers goes through it too.
    records::fence(tx, &RoomRef { id, epoch }).await?;
    let Some(behind) = behind(tx, room, kept).await? else {
        let id = room.clone();
        return Ok(RoomRef { id, epoch });
    };
    for (lane, reached) in behind.lanes {
        lane::Entity::update_many()
            .col_expr(lane::Column::ReservedTo, Expr::value(to_column(reached)))
            .filter(lane::Column::RoomId.eq(room.as_str()))
            .filter(lane::Column::Lane.eq(lane))
            .exec(tx)
            .await?;
    }
    rooms::Entity::update_many()
        .col_expr(rooms::Column::Epoch, Expr::value(to_column(behind.epoch)))
        .filter(rooms::Column::Id.eq(room.as_str()))
        .exec(tx)
        .await?;
    Ok(RoomRef {
        id: behind.row.id,
        epoch: behind.epoch,
    })
}
