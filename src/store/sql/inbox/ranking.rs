//! Seats sold by day, and when performances sold out: what lists of concerts are
//! ordered by.
//!
//! Whether a performance is sold out is read from its sections as they are now;
//! events only say when to look. A performance that is open again, or cancelled,
//! has no row. Who looks holds off others who do: what was read before another's
//! look is not written after it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::columns::time_to_column;
use super::super::query::{execute, one};
use super::super::{Tx, locks};
use super::body;
use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::inbox::InboxError;

pub const DAY_MS: u64 = 86_400_000;

const ADD: &str = "\
UPDATE sales_days SET sold = sold + $3 WHERE performance_id = $1 AND day = $2";

const FIRST: &str = "INSERT INTO sales_days (performance_id, day, sold) VALUES ($1, $2, $3)";

const OPEN_SEATS: &str = "\
SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT) AS open_seats, \
CAST(COALESCE(SUM(sold), 0) AS BIGINT) AS sold, \
(SELECT state FROM performances WHERE id = $1) AS state, \
(SELECT sold_out_at FROM sold_outs WHERE performance_id = $1) AS sold_out_at \
FROM sections WHERE performance_id = $1";

const SOLD_OUT: &str = "INSERT INTO sold_outs (performance_id, sold_out_at) VALUES ($1, $2)";

const OPEN_AGAIN: &str = "DELETE FROM sold_outs WHERE performance_id = $1";

#[derive(Deserialize)]
struct SeatsMoved {
    performance_id: ResourceId,
    seat_ids: Vec<ResourceId>,
}

pub async fn count(tx: &Tx, events: &[&OutboxEvent]) -> Result<(), InboxError> {
    let mut days: BTreeMap<(ResourceId, u64), i64> = BTreeMap::new();
    let mut looked_at: BTreeMap<ResourceId, UnixMs> = BTreeMap::new();
    for event in events {
        let sold = match event.kind.as_str() {
            "reservation.confirmed" => 1,
            "reservation.cancelled" => -1,
            "seats.blocked" | "seats.unblocked" => 0,
            _ => continue,
        };
        let moved: SeatsMoved = body(event)?;
        let seats = i64::try_from(moved.seat_ids.len()).unwrap_or(i64::MAX);
        if sold != 0 {
            let day = event.created_at.0 / DAY_MS;
            *days.entry((moved.performance_id.clone(), day)).or_default() += sold * seats;
        }
        let last = looked_at
            .entry(moved.performance_id)
            .or_insert(event.created_at);
        *last = event.created_at.max(*last);
    }
    for ((performance, day), sold) in &days {
        let day = i64::try_from(*day).unwrap_or(i64::MAX);
        let values = [performance.as_str().into(), day.into(), (*sold).into()];
        if execute(tx, ADD, values.clone()).await? == 0 {
            execute(tx, FIRST, values).await?;
        }
    }
    for performance in looked_at.keys() {
        locks::name(tx, &format!("sold-out:{performance}")).await?;
    }
    for (performance, at) in looked_at {
        note_sold_out(tx, &performance, at).await?;
    }
    Ok(())
}

async fn note_sold_out(tx: &Tx, performance: &ResourceId, at: UnixMs) -> Result<(), InboxError> {
    let Some(row) = one(tx, OPEN_SEATS, [performance.as_str().into()]).await? else {
        return Ok(());
    };
    let is_sold_out = row.count("open_seats")? == 0
        && row.count("sold")? > 0
        && row.opt_text("state")?.as_deref() == Some("scheduled");
    let is_noted = row.opt_time("sold_out_at")?.is_some();
    if is_sold_out && !is_noted {
        let values = [performance.as_str().into(), time_to_column(at).into()];
        execute(tx, SOLD_OUT, values).await?;
    } else if !is_sold_out && is_noted {
        execute(tx, OPEN_AGAIN, [performance.as_str().into()]).await?;
    }
    Ok(())
}
