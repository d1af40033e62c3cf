//! What a room protects. A performance named itself belongs to that room, not
//! to its concert's, and counts only there.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::policy::Protects;
use crate::store::rooms::RoomsError;
use crate::store::sql::entity::{protect, room};
use crate::store::sql::unit::insert_missing;
use crate::store::sql::{Tx, dialect};

use super::unreadable;

/// A target kind's name, and the table that says whether a target exists.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    table: &'static str,
}

const CONCERT: Kind = Kind {
    name: "concert",
    table: "concerts",
};
const PERFORMANCE: Kind = Kind {
    name: "performance",
    table: "performances",
};
const CAMPAIGN: Kind = Kind {
    name: "campaign",
    table: "campaigns",
};

const PROTECTOR: &str = include_str!("protector.sql");
const IS_SOLD_OUT: &str = include_str!("is_sold_out.sql");

/// Makes `protects` all that the room protects.
pub(super) async fn replace(tx: &Tx, room: &RoomId, protects: &Protects) -> Result<(), RoomsError> {
    protect::Entity::delete_many()
        .filter(protect::Column::RoomId.eq(room.as_str()))
        .exec(tx)
        .await?;
    for (kind, targets) in [
        (CONCERT, &protects.concerts),
        (PERFORMANCE, &protects.performances),
        (CAMPAIGN, &protects.campaigns),
    ] {
        for target in targets {
            add(tx, room, kind, target).await?;
        }
    }
    Ok(())
}

async fn add(tx: &Tx, room: &RoomId, kind: Kind, target: &ResourceId) -> Result<(), RoomsError> {
    if !exists(tx, kind, target).await? {
        return Err(RoomsError::UnknownTarget {
            target: target.clone(),
        });
    }
    let row = protect::ActiveModel {
        target_kind: Set(kind.name.to_owned()),
        target_id: Set(target.as_str().to_owned()),
        room_id: Set(room.as_str().to_owned()),
    };
    insert_missing(tx, [row]).await?;
    let key = (kind.name.to_owned(), target.as_str().to_owned());
    let owner = protect::Entity::find_by_id(key)
        .one(tx)
        .await?
        .ok_or_else(|| unreadable("protects"))?;
    if owner.room_id == room.as_str() {
        return Ok(());
    }
    Err(RoomsError::ProtectedTwice {
        target: target.clone(),
        room: room_id(&owner.room_id)?,
    })
}

async fn exists(tx: &Tx, kind: Kind, target: &ResourceId) -> Result<bool, RoomsError> {
    let found = Query::select()
        .expr(Expr::val(1))
        .from(kind.table)
        .and_where(Expr::col("id").eq(target.as_str()))
        .to_owned();
    Ok(tx.query_one(&found).await?.is_some())
}

pub(super) async fn protector(tx: &Tx, target: &ResourceId) -> Result<Option<RoomId>, RoomsError> {
    let statement = dialect::statement(
        tx.get_database_backend(),
        PROTECTOR,
        [target.as_str().into()],
    );
    match tx.query_one_raw(statement).await? {
        None => Ok(None),
        Some(row) => {
            let room: String = row.try_get("", "room_id")?;
            Ok(Some(room_id(&room)?))
        }
    }
}

pub(super) async fn is_sold_out(tx: &Tx, id: &RoomId) -> Result<bool, RoomsError> {
    room::Entity::find_by_id(id.as_str())
        .one(tx)
        .await?
        .ok_or(RoomsError::UnknownRoom)?;
    let statement =
        dialect::statement(tx.get_database_backend(), IS_SOLD_OUT, [id.as_str().into()]);
    let row = tx.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| unreadable("seats"))?;
    let sells: bool = row.try_get("", "sells")?;
    let has_unsold: bool = row.try_get("", "has_unsold")?;
    Ok(sells && !has_unsold)
}

fn room_id(text: &str) -> Result<RoomId, RoomsError> {
    RoomId::parse(text).map_err(|_| unreadable("protects.room_id"))
}
