//! Ending holds that are over by time.
//!
//! Everybody judges a hold by its expiry, so this only cleans up: the sweeper
//! does it for all, and whoever wants such a seat does it for that seat first.
//! However many they are, ending some takes as many statements as ending one.

use std::collections::BTreeSet;

use super::super::columns::time_to_column;
use super::super::list::{Column, List, Update};
use super::super::query::{Row, all};
use super::super::{Tx, idempotency, locks};
use super::seats::{self, Held};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::store::sales::{SalesError, Swept};

const DUE: &str = "\
SELECT id, performance_id FROM reservations \
WHERE state = 'held' AND expires_at <= $1 ORDER BY expires_at LIMIT $2";

const DUE_OF_PERFORMANCE: &str = "\
SELECT id, performance_id FROM reservations \
WHERE state = 'held' AND expires_at <= $1 AND performance_id = $2 ORDER BY expires_at LIMIT $3";

const HOLDS: &[Column] = &[Column::Text("performance"), Column::Text("reservation")];

const END: Update = Update {
    table: "reservations",
    set: "state = 'expired', ended_at = expires_at, version = version + 1",
    on: "reservations.id = v.reservation AND COALESCE(reservations.state, '') = 'held' \
         AND COALESCE(reservations.expires_at, 0) <= $1",
};

/// The performance is hidden: few seats are one reservation's, many are one
/// house's.
const SEATS: &str = "\
SELECT s.performance_id, s.id, s.section, s.state, s.reservation_id FROM {list} \
LEFT JOIN seats AS s ON s.reservation_id = v.reservation \
AND COALESCE(s.performance_id, '') = v.performance";

/// Idempotency keys forgotten by one step.
const KEYS_PER_STEP: u32 = 1_000;

/// By performance and reservation.
type Due = BTreeSet<(ResourceId, ResourceId)>;

/// Ends some of those that are due, the oldest first; one of a performance that
/// somebody has locked is left to a later sweep.
pub async fn sweep(tx: &Tx, limit: u32) -> Result<Swept, SalesError> {
    let mut due = due_holds(tx, limit).await?;
    if !tx.is_alone() && !due.is_empty() {
        let of: BTreeSet<&ResourceId> = due.iter().map(|(performance, _)| performance).collect();
        let busy = locks::free_performances(tx, of.clone()).await?;
        // Who came first may have ended some. One of yet another performance
        // is left to the next step.
        let mut still = due_holds(tx, limit).await?;
        still.retain(|(performance, _)| {
            of.contains(performance) && !busy.contains(performance.as_str())
        });
        due = still;
    }
    end(tx, &due).await?;
    let performances: BTreeSet<ResourceId> = due.iter().map(|(of, _)| of.clone()).collect();
    idempotency::purge(tx, KEYS_PER_STEP).await?;
    let holds = u64::try_from(due.len()).unwrap_or(u64::MAX);
    Ok(Swept {
        holds,
        performances: performances.into_iter().collect(),
        more: holds >= u64::from(limit),
    })
}

async fn due_holds(tx: &Tx, limit: u32) -> Result<Due, SalesError> {
    let values = [time_to_column(tx.now()).into(), i64::from(limit).into()];
    pairs(&all(tx, DUE, values).await?)
}

fn pairs(rows: &[Row]) -> Result<Due, SalesError> {
    let read = |row: &Row| Ok((row.id("performance_id")?, row.id("id")?));
    rows.iter().map(read).collect()
}

/// Ends holds of a performance that are known to be over by time.
pub async fn end_holds(
    tx: &Tx,
    performance: &ResourceId,
    lapsed: &BTreeSet<ResourceId>,
) -> Result<(), SalesError> {
    let due = lapsed
        .iter()
        .map(|hold| (performance.clone(), hold.clone()));
    end(tx, &due.collect()).await
}

/// Ends expired holds of a performance, the oldest first, at most `limit`;
/// answers how many.
pub async fn end_due(tx: &Tx, performance: &ResourceId, limit: u32) -> Result<u32, SalesError> {
    let values = [
        time_to_column(tx.now()).into(),
        performance.as_str().into(),
        i64::from(limit).into(),
    ];
    let due = pairs(&all(tx, DUE_OF_PERFORMANCE, values).await?)?;
    end(tx, &due).await?;
    Ok(u32::try_from(due.len()).unwrap_or(u32::MAX))
}

/// Ends these holds, which are over by time and of performances that nobody else
/// changes.
pub async fn end(tx: &Tx, due: &Due) -> Result<(), SalesError> {
    let mut holds = List::new(HOLDS);
    for (performance, reservation) in due {
        holds.push([performance.as_str().into(), reservation.as_str().into()]);
    }
    let mut freed = Vec::new();
    for row in &holds.all(tx, SEATS, []).await? {
        let state = row.opt_parsed("state", SeatState::from_name)?;
        if state == Some(SeatState::Held) {
            freed.push(Held {
                performance: row.id("performance_id")?,
                seat: row.id("id")?,
                reservation: row.id("reservation_id")?,
                ordinal: row.signed("section")?,
            });
        }
    }
    holds.update(tx, &END, [time_to_column(tx.now()).into()]);
    seats::free(tx, &freed);
    Ok(())
}
