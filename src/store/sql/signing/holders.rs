//! What each node says of its signing keys: one row a node, judged alone.
//!
//! A row is kept for a while after its node's time is over: a node that was
//! accepted before the database went away is judged as one of the accepted when
//! it is back, and not as one that comes. Only rows whose time is not over are
//! compared with.

use crate::keys::accord::{Discord, HeldKey, Holder, judge};
use crate::store::signing::SigningError;
use crate::store::sql::columns::time_to_column;
use crate::store::sql::query::{Row, all, execute};
use crate::store::sql::{Tx, locks};

/// Also of nodes whose time is over.
const ALL: &str = "SELECT node, held, is_accepted, signs_since, lives_until FROM key_holders";

const UPDATE: &str = "\
UPDATE key_holders SET held = $2, is_accepted = $3, signs_since = $4, lives_until = $5 \
WHERE node = $1";

const INSERT: &str = "\
INSERT INTO key_holders (node, held, is_accepted, signs_since, lives_until) \
VALUES ($1, $2, $3, $4, $5)";

const FORGET: &str = "DELETE FROM key_holders WHERE lives_until < $1";

/// Of two nodes that come with different keys, one is the first.
const LOCK: &str = "key holders";

/// As long as a database may be away for that.
const KEPT_MS: u64 = 600_000;

pub(super) async fn hold(
    tx: &Tx,
    node: u64,
    held: &[HeldKey],
    lives_ms: u64,
) -> Result<Result<(), Discord>, SigningError> {
    locks::name(tx, LOCK).await?;
    let now = tx.now();
    let rows = all(tx, ALL, []).await?;
    let (mut before, mut accepted) = (None, Vec::new());
    for row in &rows {
        let holder = read(row)?;
        if holder.node == node {
            before = Some(holder);
        } else if holder.is_accepted && row.time("lives_until")? > now {
            accepted.push(holder);
        }
    }
    let signs_since = match &before {
        Some(before) if before.signs_as(held) => before.signs_since,
        _ => now,
    };
    let own = Holder {
        node,
        held: held.to_vec(),
        is_accepted: before.as_ref().is_some_and(|before| before.is_accepted),
        signs_since,
    };
    let judged = judge(&own, &accepted);
    let values = [
        node.cast_signed().into(),
        to_text(held)?.into(),
        judged.is_ok().into(),
        time_to_column(signs_since).into(),
        time_to_column(now.plus_ms(lives_ms)).into(),
    ];
    let statement = if before.is_some() { UPDATE } else { INSERT };
    execute(tx, statement, values).await?;
    let forgotten = now.0.saturating_sub(KEPT_MS);
    execute(tx, FORGET, [forgotten.cast_signed().into()]).await?;
    Ok(judged)
}

fn read(row: &Row) -> Result<Holder, SigningError> {
    let held = row.text("held")?;
    Ok(Holder {
        node: row.signed("node")?.cast_unsigned(),
        held: serde_json::from_str(&held).map_err(|error| SigningError(error.to_string()))?,
        is_accepted: row.flag("is_accepted")?,
        signs_since: row.time("signs_since")?,
    })
}

fn to_text(held: &[HeldKey]) -> Result<String, SigningError> {
    serde_json::to_string(held).map_err(|error| SigningError(error.to_string()))
}
