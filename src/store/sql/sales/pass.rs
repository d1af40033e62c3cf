//! What a pass is worth now: the activation's row decides, in the transaction
//! that asks.

use uuid::Uuid;

use super::super::Tx;
use super::terms::{Asked, Pass, Terms};
use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::time::UnixMs;
use crate::store::sales::{Admission, CompletedPass, PassStanding, SalesError};

pub async fn check(
    tx: &Tx,
    user: &UserId,
    performance: &ResourceId,
    activation: Option<ActivationId>,
) -> Result<Admission, SalesError> {
    let asked = Asked {
        activation,
        ..Asked::default()
    };
    let terms = Terms::read(tx, performance, &asked).await?;
    Ok(Admission {
        standing: judge(&terms, user, activation, tx.now())?,
        versions: terms.versions,
        as_of: tx.now(),
    })
}

/// Whether `user` may buy now with this activation; `None` where no room
/// protects.
pub fn judge(
    terms: &Terms,
    user: &UserId,
    activation: Option<ActivationId>,
    now: UnixMs,
) -> Result<Option<PassStanding>, SalesError> {
    let shown = activation.map(|_| terms.pass.as_ref());
    judge_shown(terms.room.as_ref(), shown, user, now)
}

/// As [`judge`], by the row of the pass that was shown, if one was and it is there.
pub fn judge_shown(
    protector: Option<&RoomId>,
    shown: Option<Option<&Pass>>,
    user: &UserId,
    now: UnixMs,
) -> Result<Option<PassStanding>, SalesError> {
    let Some(room) = protector.cloned() else {
        return Ok(None);
    };
    let Some(pass) = shown else {
        return Err(SalesError::PassRequired { room });
    };
    let Some(pass) = pass else {
        // Well signed, so it was once written: the database has lost it.
        return Err(SalesError::PassEnded);
    };
    if pass.room != room {
        return Err(SalesError::PassWrongRoom { room });
    }
    if pass.user != *user {
        return Err(SalesError::PassOfAnotherUser);
    }
    match (pass.state.as_str(), pass.expire_time) {
        ("active", Some(expire_time)) if expire_time > now => Ok(Some(PassStanding {
            room,
            activation: pass.id,
            expire_time,
        })),
        ("activated", _) => Err(SalesError::NotActivated),
        _ => Err(SalesError::PassEnded),
    }
}

/// The pass that a payment completes, unless it has another live hold. A pass
/// past its time is left to the room, which ends it as PASS_EXPIRED.
pub fn completed(terms: &Terms, other_holds: u64, now: UnixMs) -> Option<CompletedPass> {
    let is_live = |pass: &&Pass| {
        let in_time = pass.expire_time.is_some_and(|until| until > now);
        pass.state == "active" && in_time && other_holds == 0
    };
    let pass = terms.pass.as_ref().filter(is_live)?;
    Some(CompletedPass {
        room: pass.room.clone(),
        activation: pass.id,
    })
}

/// The id stored in a row.
pub fn parse(text: &str) -> Option<ActivationId> {
    Uuid::parse_str(text).ok().map(ActivationId)
}
