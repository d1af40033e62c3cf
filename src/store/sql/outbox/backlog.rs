//! What waits in the outbox, without counting all of it.
//!
//! Each partition is counted up to a limit, along the index that relays go by.
//! Where one reaches it, as many are said to wait as ids were given since the
//! oldest of them: ids follow the time, and few are passed over.

use super::super::Tx;
use super::super::columns::from_column;
use super::super::query::{all, one};
use crate::store::outbox::{Backlog, COUNTED_MAX, OUTBOX_PARTITIONS, OutboxError};

const OLDEST: &str = "\
SELECT created_at, (SELECT MAX(id) FROM outbox) AS newest FROM outbox WHERE id = $1";

/// Counts of the partitions, and the first id of each.
pub(super) fn counts() -> String {
    let count = |partition: u8| {
        let pending = format!(
            "SELECT id FROM outbox WHERE partition_no = {partition} AND dead = FALSE \
             AND published_at IS NULL"
        );
        format!(
            "SELECT (SELECT COUNT(*) FROM ({pending} LIMIT {COUNTED_MAX}) AS counted) AS events, \
             ({pending} ORDER BY published_at, id LIMIT 1) AS first_id"
        )
    };
    let counts: Vec<String> = (0..OUTBOX_PARTITIONS).map(count).collect();
    counts.join(" UNION ALL ")
}

fn dead() -> String {
    let partitions: Vec<String> = (0..OUTBOX_PARTITIONS).map(|no| no.to_string()).collect();
    format!(
        "SELECT COUNT(*) AS events FROM (SELECT id FROM outbox WHERE partition_no IN ({}) \
         AND dead = TRUE AND published_at IS NULL LIMIT {COUNTED_MAX}) AS gone",
        partitions.join(", ")
    )
}

pub async fn read(tx: &Tx) -> Result<Backlog, OutboxError> {
    let (mut counted, mut is_more, mut first) = (0, false, None::<i64>);
    for row in &all(tx, &counts(), []).await? {
        let events = row.count("events")?;
        if events == 0 {
            continue;
        }
        counted += events;
        is_more |= events >= u64::from(COUNTED_MAX);
        let id = row.signed("first_id")?;
        first = Some(first.map_or(id, |first| first.min(id)));
    }
    let dead = one(tx, &dead(), []).await?;
    let mut backlog = Backlog {
        pending: counted,
        dead: dead.map_or(Ok(0), |row| row.count("events"))?,
        oldest: None,
    };
    let Some(first) = first else {
        return Ok(backlog);
    };
    let Some(row) = one(tx, OLDEST, [first.into()]).await? else {
        return Ok(backlog);
    };
    backlog.oldest = Some(row.time("created_at")?);
    if is_more {
        let since = row.signed("newest")?.saturating_sub(first);
        backlog.pending = counted.max(from_column(since) + 1);
    }
    Ok(backlog)
}
