//! Deleting what of the sale has had its time, some at once.
//!
//! What is to go is read first, so that a table without it is not written, and
//! again under the locks of its performances: late money may come between.
//! Nothing goes that was made after the oldest answer which is kept: the answer
//! may name it.
//!
//! A finished sale is marked (`performances.archived_at`) before its first row
//! goes: from then on its seats need not add up. Its house goes last, and while
//! there is one a later step goes on.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::ConnectionTrait;

use super::super::columns::{time_to_column, to_column};
use super::super::query::{Binds, all, execute, one};
use super::super::{SqlStore, Tx, dialect, locks};
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::sales::SalesError;
use crate::store::sales::cleaning::{Cleaned, Cleaning, Litter};

const INTENTS: &str = include_str!("cleaning/intents.sql");
const HOLDS: &str = include_str!("cleaning/holds.sql");
const FINISHED: &str = include_str!("cleaning/finished.sql");

const EVENTS: &str = "\
SELECT provider, id FROM gateway_events WHERE received_at <= $1 \
ORDER BY received_at LIMIT $2";

const OLDEST_ANSWER: &str = "SELECT MIN(created_at) AS oldest FROM idempotency";

const ARCHIVE: &str = "\
UPDATE performances SET archived_at = $2, version = version + 1 \
WHERE id = $1 AND archived_at IS NULL";

const SOLD: &str = "\
SELECT DISTINCT reservation_id FROM tickets WHERE performance_id = $1 LIMIT $2";

const DELETE_HOUSE: &str = "DELETE FROM sections WHERE performance_id = $1";

/// An item, and the performance that it is of.
struct Item {
    id: ResourceId,
    performance: Option<ResourceId>,
}

async fn items(
    tx: &Tx,
    query: &str,
    kept_ms: u64,
    items_max: u32,
) -> Result<Vec<Item>, SalesError> {
    let row = one(tx, OLDEST_ANSWER, []).await?;
    let oldest = row.map_or(Ok(None), |row| row.opt_time("oldest"))?;
    let over_by = UnixMs(tx.now().0.saturating_sub(kept_ms));
    let values = [
        time_to_column(over_by).into(),
        time_to_column(oldest.unwrap_or(tx.now())).into(),
        i64::from(items_max).into(),
    ];
    let mut items = Vec::new();
    for row in &all(tx, query, values).await? {
        let performance = row.text("performance_id")?;
        items.push(Item {
            id: row.id("id")?,
            performance: ResourceId::parse(&performance).ok(),
        });
    }
    Ok(items)
}

/// The same under the locks of what they are of; others are left to the next
/// step.
async fn items_locked(
    tx: &Tx,
    query: &str,
    kept_ms: u64,
    items_max: u32,
) -> Result<Vec<ResourceId>, SalesError> {
    let mut found = items(tx, query, kept_ms, items_max).await?;
    let of = |found: &[Item]| -> BTreeSet<ResourceId> {
        let of = found.iter().filter_map(|item| item.performance.clone());
        of.collect()
    };
    let locked = of(&found);
    if !tx.is_alone() {
        locks::performances(tx, &locked).await?;
        found = items(tx, query, kept_ms, items_max).await?;
        found.retain(|item| {
            item.performance
                .as_ref()
                .is_none_or(|of| locked.contains(of))
        });
    }
    Ok(found.into_iter().map(|item| item.id).collect())
}

/// Deletes rows of a table by a list of ids; `more` is part of the condition.
async fn delete(
    tx: &Tx,
    table: &str,
    column: &str,
    ids: &[ResourceId],
    more: &str,
) -> Result<u64, SalesError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let mut binds = Binds::default();
    let list = binds.ids(ids);
    let sql = format!("DELETE FROM {table} WHERE {column} IN ({list}){more}");
    Ok(execute(tx, &sql, binds.values()).await?)
}

/// By provider.
async fn old_events(
    tx: &Tx,
    kept_ms: u64,
    items_max: u32,
) -> Result<BTreeMap<String, Vec<String>>, SalesError> {
    let over_by = UnixMs(tx.now().0.saturating_sub(kept_ms));
    let values = [time_to_column(over_by).into(), i64::from(items_max).into()];
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in &all(tx, EVENTS, values).await? {
        let of = events.entry(row.text("provider")?).or_default();
        of.push(row.text("id")?);
    }
    Ok(events)
}

pub async fn events(tx: &Tx, kept_ms: u64, items_max: u32) -> Result<Cleaned, SalesError> {
    let mut rows = 0;
    for (provider, ids) in old_events(tx, kept_ms, items_max).await? {
        let mut binds = Binds::default();
        let provider = binds.bind(provider);
        let ids: Vec<String> = ids.into_iter().map(|id| binds.bind(id)).collect();
        let list = ids.join(", ");
        let sql =
            format!("DELETE FROM gateway_events WHERE provider = {provider} AND id IN ({list})");
        rows += execute(tx, &sql, binds.values()).await?;
    }
    Ok(Cleaned {
        rows,
        has_more: rows >= u64::from(items_max),
    })
}

const DECLINED: &str = " AND state = 'declined'";

pub async fn intents(tx: &Tx, kept_ms: u64, items_max: u32) -> Result<Cleaned, SalesError> {
    let ids = items_locked(tx, INTENTS, kept_ms, items_max).await?;
    let mut rows = delete(tx, "payments", "id", &ids, DECLINED).await?;
    rows += delete(tx, "payment_intents", "id", &ids, DECLINED).await?;
    Ok(step(&ids, items_max, rows))
}

pub async fn holds(tx: &Tx, kept_ms: u64, items_max: u32) -> Result<Cleaned, SalesError> {
    let ids = items_locked(tx, HOLDS, kept_ms, items_max).await?;
    if ids.is_empty() {
        return Ok(Cleaned::default());
    }
    let mut binds = Binds::default();
    let list = binds.ids(&ids);
    let attempts = format!("SELECT id FROM payments WHERE reservation_id IN ({list})");
    let attempts = all(tx, &attempts, binds.values()).await?;
    let attempts: Result<Vec<_>, _> = attempts.iter().map(|row| row.id("id")).collect();
    let mut rows = delete(tx, "payment_intents", "id", &attempts?, DECLINED).await?;
    for table in ["payments", "reservation_seats", "returned_seats"] {
        rows += delete(tx, table, "reservation_id", &ids, "").await?;
    }
    rows += delete(tx, "reservations", "id", &ids, "").await?;
    Ok(step(&ids, items_max, rows))
}

fn step(ids: &[ResourceId], items_max: u32, rows: u64) -> Cleaned {
    Cleaned {
        rows,
        has_more: u32::try_from(ids.len()).is_ok_and(|count| count >= items_max),
    }
}

/// By its id, and whether its rows may go already.
async fn finished(
    tx: &Tx,
    only: &str,
    kept_ms: u64,
) -> Result<Option<(ResourceId, bool)>, SalesError> {
    let over_by = UnixMs(tx.now().0.saturating_sub(kept_ms));
    let values = [time_to_column(over_by).into(), only.into()];
    let row = one(tx, FINISHED, values).await?;
    row.map(|row| Ok((row.id("id")?, row.count("is_archived")? == 1)))
        .transpose()
}

pub async fn sales(tx: &Tx, kept_ms: u64, items_max: u32) -> Result<Cleaned, SalesError> {
    let Some((id, _)) = finished(tx, "", kept_ms).await? else {
        return Ok(Cleaned::default());
    };
    locks::performances(tx, [&id]).await?;
    let Some((_, is_archived)) = finished(tx, id.as_str(), kept_ms).await? else {
        // Changed meanwhile; there may be others.
        return Ok(more(0));
    };
    if !is_archived {
        let values = [id.as_str().into(), time_to_column(tx.now()).into()];
        execute(tx, ARCHIVE, values).await?;
        return Ok(more(0));
    }
    let values = [id.as_str().into(), i64::from(items_max).into()];
    let sold = all(tx, SOLD, values).await?;
    let sold: Result<Vec<_>, _> = sold.iter().map(|row| row.id("reservation_id")).collect();
    let sold = sold?;
    if !sold.is_empty() {
        let mut rows = 0;
        for table in ["tickets", "seats", "reservation_seats", "returned_seats"] {
            rows += delete(tx, table, "reservation_id", &sold, "").await?;
        }
        return Ok(more(rows));
    }
    let backend = tx.get_database_backend();
    let (key, of_it) = ("performance_id, id", "performance_id = $1");
    let portion = dialect::delete_some(backend, "seats", key, of_it, "$2");
    let values = [
        id.as_str().into(),
        to_column(u64::from(items_max) * 10).into(),
    ];
    let seats = execute(tx, &portion, values).await?;
    if seats > 0 {
        return Ok(more(seats));
    }
    let house = execute(tx, DELETE_HOUSE, [id.as_str().into()]).await?;
    tracing::info!(performance.id = %id, "finished sale deleted");
    Ok(more(house))
}

fn more(rows: u64) -> Cleaned {
    let has_more = true;
    Cleaned { rows, has_more }
}

#[async_trait]
impl Cleaning for SqlStore {
    async fn has_litter(&self, what: Litter, kept_ms: u64) -> Result<bool, SalesError> {
        self.read((what, kept_ms), |tx, &(what, kept_ms)| {
            async move {
                Ok(match what {
                    Litter::GatewayEvents => !old_events(tx, kept_ms, 1).await?.is_empty(),
                    Litter::DeclinedIntents => !items(tx, INTENTS, kept_ms, 1).await?.is_empty(),
                    Litter::EndedHolds => !items(tx, HOLDS, kept_ms, 1).await?.is_empty(),
                    Litter::FinishedSales => finished(tx, "", kept_ms).await?.is_some(),
                })
            }
            .boxed()
        })
        .await
    }

    async fn clean(
        &self,
        what: Litter,
        kept_ms: u64,
        items_max: u32,
    ) -> Result<Cleaned, SalesError> {
        let input = (what, kept_ms, items_max);
        self.write_background(input, |tx, &(what, kept_ms, items_max)| {
            async move {
                match what {
                    Litter::GatewayEvents => events(tx, kept_ms, items_max).await,
                    Litter::DeclinedIntents => intents(tx, kept_ms, items_max).await,
                    Litter::EndedHolds => holds(tx, kept_ms, items_max).await,
                    Litter::FinishedSales => sales(tx, kept_ms, items_max).await,
                }
            }
            .boxed()
        })
        .await
    }
}
