//! Forgetting: a mark on the room's row, then its rows, a portion at a time.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::domain::ids::{RoomId, RoomRef};
use crate::domain::time::UnixMs;
use crate::store::rooms::RoomsError;
use crate::store::rooms::retention::{Deletion, Finished, Retention};
use crate::store::sql::columns::{from_column, time_to_column};
use crate::store::sql::entity::{protect, room};
use crate::store::sql::query::{all, execute, one};
use crate::store::sql::{SqlStore, Tx, dialect};

use super::{records, unreadable};

const FINISHED: &str = include_str!("finished.sql");

/// Of rooms that were closed before the column was there.
const UNDATED: &str = "\
SELECT COUNT(*) AS rooms FROM rooms WHERE closed AND closed_at IS NULL";
const DATE: &str = "UPDATE rooms SET closed_at = $1 WHERE closed AND closed_at IS NULL";

/// Tables of which a room has many rows, and what names one of them.
const MANY: [(&str, &str); 3] = [
    ("activations", "id"),
    ("access_codes", "code_hash"),
    ("departed_pages", "lane, page"),
];
/// Events of places that left go as all events do, and the last of a place too:
/// nothing follows it any more.
const EVENTS_OVER: &str = "\
aggregate >= $1 AND aggregate < $2 AND (published_at <= $4 OR dead)";
const HAS_EVENTS: &str = "\
SELECT id FROM outbox WHERE aggregate >= $1 AND aggregate < $2 LIMIT 1";
/// Few of each, whatever the room.
const DELETE_REST: [&str; 3] = [
    "DELETE FROM code_salts WHERE room_id = $1",
    "DELETE FROM room_lanes WHERE room_id = $1",
    "DELETE FROM rooms WHERE id = $1 AND forgotten_at IS NOT NULL",
];

/// Of all rooms, or of one.
async fn finished(
    tx: &Tx,
    retain_ms: u64,
    only: &str,
    rooms_max: u32,
) -> Result<Vec<Finished>, RoomsError> {
    let closed_by = UnixMs(tx.now().0.saturating_sub(retain_ms));
    let values = [
        time_to_column(closed_by).into(),
        time_to_column(tx.now()).into(),
        i64::from(rooms_max).into(),
        only.into(),
    ];
    let rows = all(tx, FINISHED, values).await?;
    rows.iter()
        .map(|row| {
            let id = RoomId::parse(&row.text("id")?).map_err(|_| unreadable("rooms.id"))?;
            Ok(Finished {
                room: RoomRef {
                    id,
                    epoch: from_column(row.signed("epoch")?),
                },
                is_forgotten: row.count("is_forgotten")? == 1,
            })
        })
        .collect()
}

/// Under the fence, so that no row of it is written meanwhile.
async fn forget(tx: &Tx, room: &RoomRef, retain_ms: u64) -> Result<(), RoomsError> {
    records::fence(tx, room).await?;
    if finished(tx, retain_ms, room.id.as_str(), 1)
        .await?
        .is_empty()
    {
        return Err(RoomsError::UnknownRoom);
    }
    room::Entity::update_many()
        .col_expr(
            room::Column::ForgottenAt,
            Expr::value(time_to_column(tx.now())),
        )
        .filter(room::Column::Id.eq(room.id.as_str()))
        .exec(tx)
        .await?;
    protect::Entity::delete_many()
        .filter(protect::Column::RoomId.eq(room.id.as_str()))
        .exec(tx)
        .await?;
    Ok(())
}

async fn delete(
    tx: &Tx,
    id: &RoomId,
    rows_max: u32,
    events_kept_ms: u64,
) -> Result<Deletion, RoomsError> {
    let row = room::Entity::find_by_id(id.as_str()).one(tx).await?;
    if row.is_none_or(|row| row.forgotten_at.is_none()) {
        return Ok(Deletion::Done);
    }
    let mut has_more = false;
    let backend = tx.get_database_backend();
    for (table, key) in MANY {
        let portion = dialect::delete_some(backend, table, key, "room_id = $1", "$2");
        let values = [id.as_str().into(), i64::from(rows_max).into()];
        has_more |= execute(tx, &portion, values).await? >= u64::from(rows_max);
    }
    // As `note_left` names them; what follows a slash is a zero.
    let from = format!("place:{id}/");
    let to = format!("place:{id}0");
    let published_by = UnixMs(tx.now().0.saturating_sub(events_kept_ms));
    let values = [
        from.clone().into(),
        to.clone().into(),
        i64::from(rows_max).into(),
        time_to_column(published_by).into(),
    ];
    let events = dialect::delete_some(backend, "outbox", "id", EVENTS_OVER, "$3");
    has_more |= execute(tx, &events, values).await? >= u64::from(rows_max);
    if has_more {
        return Ok(Deletion::More);
    }
    let left = one(tx, HAS_EVENTS, [from.into(), to.into()]).await?;
    if left.is_some() {
        return Ok(Deletion::Waits);
    }
    for rest in DELETE_REST {
        execute(tx, rest, [id.as_str().into()]).await?;
    }
    Ok(Deletion::Done)
}

#[async_trait]
impl Retention for SqlStore {
    async fn finished_rooms(
        &self,
        retain_ms: u64,
        rooms_max: u32,
    ) -> Result<Vec<Finished>, RoomsError> {
        let (finished, is_dated) = self
            .read((retain_ms, rooms_max), |tx, (retain_ms, rooms_max)| {
                async move {
                    let undated = one(tx, UNDATED, []).await?;
                    let is_dated = undated.is_none_or(|row| row.count("rooms") == Ok(0));
                    Ok::<_, RoomsError>((finished(tx, *retain_ms, "", *rooms_max).await?, is_dated))
                }
                .boxed()
            })
            .await?;
        if !is_dated {
            self.write_background((), |tx, ()| {
                async move {
                    execute(tx, DATE, [time_to_column(tx.now()).into()]).await?;
                    Ok::<_, RoomsError>(())
                }
                .boxed()
            })
            .await?;
        }
        Ok(finished)
    }

    async fn forget(&self, room: &RoomRef, retain_ms: u64) -> Result<(), RoomsError> {
        self.write_background((room.clone(), retain_ms), |tx, (room, retain_ms)| {
            forget(tx, room, *retain_ms).boxed()
        })
        .await
    }

    async fn delete_forgotten(&self, room: &RoomId, rows_max: u32) -> Result<Deletion, RoomsError> {
        let input = (room.clone(), rows_max, self.settings.events_kept_ms);
        self.write_background(input, |tx, (room, rows_max, kept_ms)| {
            delete(tx, room, *rows_max, *kept_ms).boxed()
        })
        .await
    }
}
