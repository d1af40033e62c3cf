//! What a pass is worth now: the activation's row decides, in the transaction
//! that asks.

use uuid::Uuid;

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::query::one;
use super::super::rooms::activations;
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::place::EndReason;
use crate::store::rooms::EndCondition;
use crate::store::sales::{CompletedPass, PassStanding, SalesError};

/// The performance's own room, else its concert's.
const PROTECTOR: &str = "\
SELECT COALESCE(own.room_id, concert.room_id) AS room_id \
FROM performances p \
LEFT JOIN protects own ON own.target_kind = 'performance' AND own.target_id = p.id \
LEFT JOIN protects concert ON concert.target_kind = 'concert' AND concert.target_id = p.concert_id \
WHERE p.id = $1";

const STANDING: &str = "\
SELECT room_id, user_id, state, expire_time FROM activations WHERE id = $1";

/// Another live hold of the pass keeps it; a pass past its time is left to the
/// room, which ends it as PASS_EXPIRED.
const COMPLETES: &str = "\
SELECT id FROM activations \
WHERE id = $1 AND state = 'active' AND expire_time > $2 AND NOT EXISTS (\
SELECT 1 FROM reservations WHERE activation_id = $1 AND state = 'held' AND expires_at > $2)";

pub async fn check(
    tx: &Tx,
    user: &UserId,
    performance: &ResourceId,
    activation: Option<ActivationId>,
) -> Result<Option<PassStanding>, SalesError> {
    let Some(row) = one(tx, PROTECTOR, [performance.as_str().into()]).await? else {
        return Err(SalesError::NotFound);
    };
    let Some(room) = row.opt_room("room_id")? else {
        return Ok(None);
    };
    let Some(activation) = activation else {
        return Err(SalesError::PassRequired { room });
    };
    let Some(row) = one(tx, STANDING, [activation.to_string().into()]).await? else {
        // Well signed, so it was once written: the database has lost it.
        return Err(SalesError::PassEnded);
    };
    if row.text("room_id")? != room.as_str() {
        return Err(SalesError::PassWrongRoom { room });
    }
    if row.user("user_id")? != *user {
        return Err(SalesError::PassOfAnotherUser);
    }
    match row.text("state")?.as_str() {
        "active" => {}
        "activated" => return Err(SalesError::NotActivated),
        _ => return Err(SalesError::PassEnded),
    }
    match row.opt_time("expire_time")? {
        Some(expire_time) if expire_time > tx.now() => Ok(Some(PassStanding {
            room,
            activation,
            expire_time,
        })),
        _ => Err(SalesError::PassEnded),
    }
}

/// Ends the pass behind a reservation that was just paid, unless it has another
/// live hold, and leaves the slot's release in the outbox.
pub async fn complete(
    tx: &Tx,
    activation: Option<ActivationId>,
) -> Result<Option<CompletedPass>, SalesError> {
    let Some(activation) = activation else {
        return Ok(None);
    };
    let values = [
        activation.to_string().into(),
        time_to_column(tx.now()).into(),
    ];
    if one(tx, COMPLETES, values).await?.is_none() {
        return Ok(None);
    }
    let completed = EndCondition::Always(EndReason::Completed);
    let row = activations::end(tx, activation, completed).await?;
    Ok(Some(CompletedPass {
        room: row.room,
        activation,
    }))
}

/// The id stored in a row.
pub fn parse(text: &str) -> Option<ActivationId> {
    Uuid::parse_str(text).ok().map(ActivationId)
}
