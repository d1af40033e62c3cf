//! Ending holds that are over by time.
//!
//! Everybody judges a hold by its expiry, so this only cleans up: the sweeper
//! does it for all, and whoever wants such a seat does it for that seat first.

use std::collections::BTreeSet;

use super::super::columns::time_to_column;
use super::super::query::{Row, all};
use super::super::{Tx, idempotency, locks};
use super::seats::{self, Change, Which};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::store::sales::{SalesError, Swept};

const DUE: &str = "\
SELECT id, performance_id FROM reservations \
WHERE state = 'held' AND expires_at <= $1 ORDER BY expires_at LIMIT $2";

const DUE_OF_PERFORMANCE: &str = "\
SELECT id FROM reservations \
WHERE state = 'held' AND expires_at <= $1 AND performance_id = $2";

const END: &str = "\
UPDATE reservations SET state = 'expired', ended_at = expires_at, version = version + 1 \
WHERE id = $1 AND state = 'held' AND expires_at <= $2";

/// Idempotency keys forgotten by one step.
const KEYS_PER_STEP: u32 = 1_000;

pub async fn sweep(tx: &Tx, limit: u32) -> Result<Swept, SalesError> {
    let mut due = due_holds(tx, limit).await?;
    if !tx.is_alone() && !due.is_empty() {
        let of: BTreeSet<&ResourceId> = due.iter().map(|(performance, _)| performance).collect();
        locks::performances(tx, of.clone()).await?;
        // Who came first may have ended some. One of yet another performance
        // is left to the next step.
        let mut still = due_holds(tx, limit).await?;
        still.retain(|(performance, _)| of.contains(performance));
        due = still;
    }
    for (performance, reservation) in &due {
        end(tx, performance, reservation).await?;
    }
    let performances: BTreeSet<ResourceId> = due.iter().map(|(of, _)| of.clone()).collect();
    idempotency::purge(tx, KEYS_PER_STEP).await?;
    let holds = u64::try_from(due.len()).unwrap_or(u64::MAX);
    Ok(Swept {
        holds,
        performances: performances.into_iter().collect(),
        more: holds >= u64::from(limit),
    })
}

/// By performance and reservation.
async fn due_holds(tx: &Tx, limit: u32) -> Result<Vec<(ResourceId, ResourceId)>, SalesError> {
    let values = [time_to_column(tx.now()).into(), i64::from(limit).into()];
    let rows = all(tx, DUE, values).await?;
    let read = |row: &Row| Ok((row.id("performance_id")?, row.id("id")?));
    rows.iter().map(read).collect()
}

/// Ends holds of a performance that are known to be over by time.
pub async fn end_holds(
    tx: &Tx,
    performance: &ResourceId,
    lapsed: &BTreeSet<ResourceId>,
) -> Result<(), SalesError> {
    for reservation in lapsed {
        end(tx, performance, reservation).await?;
    }
    Ok(())
}

/// Ends all expired holds of a performance; whether there were any.
pub async fn end_all_due(tx: &Tx, performance: &ResourceId) -> Result<bool, SalesError> {
    let values = [time_to_column(tx.now()).into(), performance.as_str().into()];
    let due = all(tx, DUE_OF_PERFORMANCE, values).await?;
    for row in &due {
        end(tx, performance, &row.id("id")?).await?;
    }
    Ok(!due.is_empty())
}

async fn end(tx: &Tx, performance: &ResourceId, id: &ResourceId) -> Result<(), SalesError> {
    let sections = seats::held_by(tx, performance, id).await?;
    let values = [id.as_str().into(), time_to_column(tx.now()).into()];
    tx.defer(END, values, 1);
    let from = SeatState::Held;
    let change = Change::Free { from };
    seats::shift(tx, performance, &Which::Of(id), &change, &sections);
    Ok(())
}
