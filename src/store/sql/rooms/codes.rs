//! Access codes: hashed with their room's salt, bound to who redeemed them.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::domain::access::{CODES_PER_ROOM_MAX, ShownCode};
use crate::domain::ids::{LaneIndex, RoomId, UserId};
use crate::store::rooms::codes::{AccessCodes, NewCodes};
use crate::store::rooms::{NewRoom, RoomRecord, RoomsError};
use crate::store::sql::columns::time_to_column;
use crate::store::sql::entity::access_code::{self, Column};
use crate::store::sql::entity::code_salt;
use crate::store::sql::unit::insert_missing;
use crate::store::sql::{SqlStore, Tx};

use super::{create, records, unreadable};

/// Rows per statement, for the sake of the limit on parameters.
const ROWS_PER_STATEMENT: usize = 200;

/// Adds what the room does not have yet.
async fn add(tx: &Tx, room: &RoomId, new: &NewCodes) -> Result<(), RoomsError> {
    if new.codes.is_empty() {
        return Ok(());
    }
    let salt = first_salt(tx, room, new.salt).await?;
    let hashed: Vec<(String, i64)> = new
        .codes
        .iter()
        .map(|code| (hex(&code.code.hash(&salt)), i64::from(code.lane)))
        .collect();
    for codes in hashed.chunks(ROWS_PER_STATEMENT) {
        let rows = codes.iter().map(|(hash, lane)| access_code::ActiveModel {
            room_id: Set(room.as_str().to_owned()),
            code_hash: Set(hash.clone()),
            lane: Set(*lane),
            user_id: Set(None),
            redeemed_at: Set(None),
        });
        insert_missing(tx, rows).await?;
        let kept = access_code::Entity::find()
            .filter(Column::RoomId.eq(room.as_str()))
            .filter(Column::CodeHash.is_in(codes.iter().map(|(hash, _)| hash)))
            .all(tx)
            .await?;
        let lane_of = |hash: &str| kept.iter().find(|row| row.code_hash == hash);
        if codes
            .iter()
            .any(|(hash, lane)| lane_of(hash).is_none_or(|row| row.lane != *lane))
        {
            return Err(RoomsError::CodeOfAnotherLane);
        }
    }
    let count = access_code::Entity::find()
        .filter(Column::RoomId.eq(room.as_str()))
        .count(tx)
        .await?;
    match count > CODES_PER_ROOM_MAX {
        true => Err(RoomsError::TooManyCodes),
        false => Ok(()),
    }
}

/// The room's salt, which is this one if it has none yet.
async fn first_salt(tx: &Tx, room: &RoomId, salt: [u8; 32]) -> Result<Vec<u8>, RoomsError> {
    let first = code_salt::ActiveModel {
        room_id: Set(room.as_str().to_owned()),
        salt: Set(salt.to_vec()),
    };
    insert_missing(tx, [first]).await?;
    salt_of(tx, room)
        .await?
        .ok_or_else(|| unreadable("code_salts.salt"))
}

async fn salt_of(tx: &Tx, room: &RoomId) -> Result<Option<Vec<u8>>, RoomsError> {
    let row = code_salt::Entity::find_by_id(room.as_str()).one(tx).await?;
    Ok(row.map(|row| row.salt))
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a look says of a shown code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Refused,
    /// It is this user's.
    Theirs(LaneIndex),
    Free,
}

async fn look(
    tx: &Tx,
    room: &RoomId,
    code: &ShownCode,
    user: &UserId,
) -> Result<(Looked, String), RoomsError> {
    let Some(salt) = salt_of(tx, room).await? else {
        return Ok((Looked::Refused, String::new()));
    };
    let hash = hex(&code.hash(&salt));
    let row = access_code::Entity::find_by_id((room.as_str().to_owned(), hash.clone()))
        .one(tx)
        .await?;
    let looked = match row {
        None => Looked::Refused,
        Some(row) => match row.user_id {
            None => Looked::Free,
            Some(owner) if owner == user.as_str() => {
                let lane = LaneIndex::try_from(row.lane);
                Looked::Theirs(lane.map_err(|_| unreadable("access_codes.lane"))?)
            }
            Some(_) => Looked::Refused,
        },
    };
    Ok((looked, hash))
}

/// Of two who show one code at once, one changes the row and the other reads
/// whose it is.
async fn redeem(
    tx: &Tx,
    room: &RoomId,
    code: &ShownCode,
    user: &UserId,
) -> Result<Option<LaneIndex>, RoomsError> {
    let (looked, hash) = look(tx, room, code, user).await?;
    if looked == Looked::Free {
        access_code::Entity::update_many()
            .set(access_code::ActiveModel {
                user_id: Set(Some(user.as_str().to_owned())),
                redeemed_at: Set(Some(time_to_column(tx.now()))),
                ..Default::default()
            })
            .filter(Column::RoomId.eq(room.as_str()))
            .filter(Column::CodeHash.eq(hash))
            .filter(Column::UserId.is_null())
            .exec(tx)
            .await?;
    }
    Ok(match look(tx, room, code, user).await?.0 {
        Looked::Theirs(lane) => Some(lane),
        Looked::Refused | Looked::Free => None,
    })
}

#[async_trait]
impl AccessCodes for SqlStore {
    async fn create_room_with_codes(
        &self,
        room: NewRoom,
        codes: NewCodes,
    ) -> Result<RoomRecord, RoomsError> {
        self.write((room, codes), |tx, (room, codes)| {
            async move {
                let made = create(tx, room).await?;
                add(tx, &room.id, codes).await?;
                Ok(made)
            }
            .boxed()
        })
        .await
    }

    async fn update_room_with_codes(
        &self,
        room: RoomRecord,
        codes: NewCodes,
    ) -> Result<RoomRecord, RoomsError> {
        self.write((room, codes), |tx, (room, codes)| {
            async move {
                let updated = records::update(tx, room).await?;
                add(tx, &room.id, codes).await?;
                Ok(updated)
            }
            .boxed()
        })
        .await
    }

    async fn redeem_code(
        &self,
        room: &RoomId,
        code: &ShownCode,
        user: &UserId,
    ) -> Result<Option<LaneIndex>, RoomsError> {
        let input = (room.clone(), code.clone(), user.clone());
        let looked = self
            .read(input.clone(), |tx, (room, code, user)| {
                look(tx, room, code, user).boxed()
            })
            .await?;
        match looked.0 {
            Looked::Refused => Ok(None),
            Looked::Theirs(lane) => Ok(Some(lane)),
            Looked::Free => {
                self.write(input, |tx, (room, code, user)| {
                    redeem(tx, room, code, user).boxed()
                })
                .await
            }
        }
    }
}
