//! The outbox: events that leave in the transaction that caused them, and
//! [`Outbox`] for the relays that publish them.
//!
//! Each event has a version, counted per aggregate from 1, and a partition that
//! follows from its aggregate. A relay that keeps the order within a partition
//! keeps it within every aggregate.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::Value;

use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::trace::Trace;
use crate::store::outbox::{
    Backlog, Failed, OUTBOX_PARTITIONS, Outbox, OutboxError, Pruned, RetryPolicy, partition_of,
};

use super::columns::{from_column, time_from_column, time_to_column};
use super::entity::outbox::{self, Column, Entity};
use super::list::{List, Update};
use super::query::one;
use super::{SqlError, SqlStore, Tx, dialect, leases, locks};

mod backlog;
mod dead;
mod many;
mod prune;
mod put_off;

pub use many::{Event, append_all};

/// The next version is taken in the insert itself: [`prune`] never deletes the
/// last row of an aggregate that may have another.
const APPEND: &str = include_str!("outbox/append.sql");
const DELIVERABLE: &str = include_str!("outbox/deliverable.sql");

const ROW_IDS: &[super::list::Column] = &[super::list::Column::Integer("id")];

const PUBLISH: Update = Update {
    table: "outbox",
    set: "published_at = $1, route = $2",
    on: "outbox.id = v.id AND COALESCE(outbox.published_at, -1) = -1",
};

/// Ids per statement, for the sake of the limit on parameters.
const IDS_PER_STATEMENT: usize = 500;

/// Leaves an event in the unit's transaction. `aggregate` is what the event
/// speaks of, as `kind:id`: events of one aggregate arrive in order. It goes on
/// with the trace of the unit ([`Tx::is_for`]).
pub fn append(tx: &Tx, aggregate: &str, kind: &str, payload: &Value) {
    // The insert counts what is committed when it begins.
    locks::name_later(tx, &format!("aggregate:{aggregate}"));
    tx.defer(
        APPEND,
        [
            aggregate.into(),
            kind.into(),
            payload.to_string().into(),
            i64::from(partition_of(aggregate)).into(),
            time_to_column(tx.now()).into(),
            tx.trace().map(|trace| trace.text()).into(),
        ],
        1,
    );
}

/// Of the request that caused the last event of this kind about a payment, as
/// long as that is kept.
pub async fn trace_of(
    tx: &Tx,
    aggregate: &str,
    kind: &str,
    payment: &ResourceId,
) -> Result<Option<Trace>, DbErr> {
    let rows = Entity::find()
        .filter(Column::Aggregate.eq(aggregate))
        .filter(Column::Kind.eq(kind))
        .order_by_desc(Column::Version)
        .all(tx)
        .await?;
    let is_of = |row: &&outbox::Model| {
        let payload: Option<Value> = serde_json::from_str(&row.payload).ok();
        payload.is_some_and(|payload| payload["payment_id"] == payment.as_str())
    };
    let row = rows.iter().find(is_of);
    Ok(row.and_then(|row| Trace::from_text(row.trace.as_deref()?)))
}

impl SqlStore {
    /// Leaves events in a unit of their own: for measurements.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when none was left.
    pub async fn leave_events(&self, events: Vec<Event>) -> Result<(), OutboxError> {
        self.write(events, |tx, events| {
            async move {
                append_all(tx, events);
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

impl From<SqlError> for OutboxError {
    fn from(error: SqlError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<DbErr> for OutboxError {
    fn from(error: DbErr) -> Self {
        SqlError::from(error).into()
    }
}

#[async_trait]
impl Outbox for SqlStore {
    async fn claim(
        &self,
        relay: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError> {
        // Leases that last need no write.
        let asked = (relay, lease_ms, events_max);
        let claimed = self.read(asked, |tx, (relay, lease_ms, events_max)| {
            claim_lasting(tx, *relay, *lease_ms, *events_max).boxed()
        });
        let (mut events, free): (Vec<OutboxEvent>, Vec<u8>) = claimed.await?;
        if free.is_empty() {
            return Ok(events);
        }
        let taken = self
            .write_background((free, relay, lease_ms), |tx, (free, relay, lease_ms)| {
                take_leases(tx, free, *relay, *lease_ms).boxed()
            });
        let taken = taken.await?;
        let further = self.read((taken, events_max), |tx, (taken, events_max)| {
            deliverable_of(tx, taken, *events_max).boxed()
        });
        events.extend(further.await?);
        Ok(events)
    }

    async fn claim_batch(
        &self,
        partition: u8,
        relay: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError> {
        let leased = self.write_background((vec![partition], relay, lease_ms), |tx, input| {
            let (partitions, relay, lease_ms) = input;
            take_leases(tx, partitions, *relay, *lease_ms).boxed()
        });
        if leased.await?.is_empty() {
            return Err(OutboxError::LeaseHeld { partition });
        }
        self.read((partition, events_max), |tx, (partition, events_max)| {
            deliverable(tx, *partition, *events_max).boxed()
        })
        .await
    }

    async fn mark_published(&self, events: &[OutboxEvent]) -> Result<(), OutboxError> {
        // Nearly always of one route.
        let mut by_route: BTreeMap<Option<u32>, Vec<i64>> = BTreeMap::new();
        for event in events {
            let ids = by_route.entry(event.route).or_default();
            ids.extend(row_id(event));
        }
        if by_route.is_empty() {
            return Ok(());
        }
        self.write_background(by_route, |tx, by_route| {
            async move {
                for (route, ids) in by_route {
                    mark_published(tx, *route, ids).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn mark_failed(
        &self,
        event: &OutboxEvent,
        retry: RetryPolicy,
    ) -> Result<Failed, OutboxError> {
        let Some(id) = row_id(event) else {
            return Ok(Failed::Settled);
        };
        self.write_background((id, retry), |tx, (id, retry)| {
            mark_failed(tx, *id, *retry).boxed()
        })
        .await
    }

    async fn put_off(&self, events: &[OutboxEvent], retry: RetryPolicy) -> Result<(), OutboxError> {
        let ids: Vec<i64> = events.iter().filter_map(row_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.write_background((ids, retry), |tx, (ids, retry)| {
            put_off::put_off(tx, ids, *retry).boxed()
        })
        .await
    }

    async fn release(&self, partition: u8, relay: u64) -> Result<(), OutboxError> {
        self.write_background((partition, relay), |tx, (partition, relay)| {
            async move { Ok(leases::release(tx, &lease_name(*partition), *relay).await?) }.boxed()
        })
        .await
    }

    async fn prune(&self, after: u64, rows_max: u32) -> Result<Pruned, OutboxError> {
        prune::prune(self, after, rows_max).await
    }

    async fn revive(&self) -> Result<u64, OutboxError> {
        self.write((), |tx, ()| dead::revive(tx).boxed()).await
    }

    async fn dead(&self, after: u64, events_max: u32) -> Result<Vec<OutboxEvent>, OutboxError> {
        self.read((after, events_max), |tx, (after, events_max)| {
            dead::read(tx, *after, *events_max).boxed()
        })
        .await
    }

    async fn discard_dead(&self, event_id: &str) -> Result<bool, OutboxError> {
        let Ok(id) = event_id.parse::<i64>() else {
            return Ok(false);
        };
        self.write_background(id, |tx, id| dead::discard(tx, *id).boxed())
            .await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.read((), |tx, ()| backlog::read(tx).boxed()).await
    }
}

fn lease_name(partition: u8) -> String {
    format!("outbox:{partition}")
}

/// `None` for an id that this store never gave.
fn row_id(event: &OutboxEvent) -> Option<i64> {
    event.id.parse().ok()
}

pub(super) async fn deliverable(
    tx: &Tx,
    partition: u8,
    events_max: u32,
) -> Result<Vec<OutboxEvent>, OutboxError> {
    let statement = dialect::statement(
        tx.get_database_backend(),
        DELIVERABLE,
        [
            i64::from(partition).into(),
            time_to_column(tx.now()).into(),
            i64::from(events_max).into(),
        ],
    );
    let rows = Deliverable::find_by_statement(statement).all(tx).await?;
    let events = rows.into_iter().map(|row| OutboxEvent {
        id: row.id.to_string(),
        aggregate: row.aggregate,
        version: from_column(row.version),
        kind: row.kind,
        payload: row.payload,
        created_at: time_from_column(row.created_at),
        route: row.last_route.and_then(|route| u32::try_from(route).ok()),
        trace: row.trace.as_deref().and_then(Trace::from_text),
    });
    Ok(events.collect())
}

/// A row of [`DELIVERABLE`].
#[derive(FromQueryResult)]
struct Deliverable {
    id: i64,
    aggregate: String,
    version: i64,
    kind: String,
    payload: String,
    created_at: i64,
    last_route: Option<i64>,
    trace: Option<String>,
}

/// The events of partitions whose lease `relay` has for long enough, and other
/// partitions that have some and may be free.
async fn claim_lasting(
    tx: &Tx,
    relay: u64,
    lease_ms: u64,
    events_max: u32,
) -> Result<(Vec<OutboxEvent>, Vec<u8>), OutboxError> {
    let waiting = waiting(tx).await?;
    if waiting.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let names = waiting.iter().map(|partition| lease_name(*partition));
    let (lasting, open) = leases::sort(tx, names.collect(), relay, lease_ms / 2).await?;
    let of = |names: &[String]| -> Vec<u8> {
        let named = waiting.iter().copied();
        named
            .filter(|partition| names.contains(&lease_name(*partition)))
            .collect()
    };
    let events = deliverable_of(tx, &of(&lasting), events_max).await?;
    Ok((events, of(&open)))
}

/// Answers those that no other relay has.
async fn take_leases(
    tx: &Tx,
    partitions: &[u8],
    relay: u64,
    lease_ms: u64,
) -> Result<Vec<u8>, OutboxError> {
    let mut taken = Vec::with_capacity(partitions.len());
    for partition in partitions {
        if leases::take(tx, &lease_name(*partition), relay, lease_ms).await? {
            taken.push(*partition);
        }
    }
    Ok(taken)
}

/// An equal share of each partition.
async fn deliverable_of(
    tx: &Tx,
    partitions: &[u8],
    events_max: u32,
) -> Result<Vec<OutboxEvent>, OutboxError> {
    let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
    let share = (events_max / count.max(1)).max(1);
    let mut events = Vec::new();
    for partition in partitions {
        events.extend(deliverable(tx, *partition, share).await?);
    }
    Ok(events)
}

/// The partitions that have an event which is neither published nor dead: one
/// look into the index per partition, however many events there are.
async fn waiting(tx: &Tx) -> Result<Vec<u8>, OutboxError> {
    let probes: Vec<String> = (0..OUTBOX_PARTITIONS)
        .map(|partition| {
            format!(
                "CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE partition_no = {partition} \
                 AND dead = FALSE AND published_at IS NULL) THEN {} ELSE 0 END",
                1_u64 << partition
            )
        })
        .collect();
    let sql = format!("SELECT CAST({} AS BIGINT) AS waiting", probes.join(" + "));
    let bits = one(tx, &sql, []).await?;
    let bits = bits.map_or(Ok(0), |row| row.count("waiting"))?;
    let has = |partition: &u8| bits & (1 << partition) != 0;
    Ok((0..OUTBOX_PARTITIONS).filter(has).collect())
}

async fn mark_published(tx: &Tx, route: Option<u32>, ids: &[i64]) -> Result<(), OutboxError> {
    let mut list = List::new(ROW_IDS);
    for id in ids {
        list.push([(*id).into()]);
    }
    let values = [time_to_column(tx.now()).into(), route.map(i64::from).into()];
    Ok(list.update_any(tx, &PUBLISH, values).await?)
}

async fn mark_failed(tx: &Tx, id: i64, retry: RetryPolicy) -> Result<Failed, OutboxError> {
    let event = Entity::find_by_id(id).lock_exclusive().one(tx).await?;
    let Some(event) = event.filter(|event| event.published_at.is_none() && !event.dead) else {
        return Ok(Failed::Settled);
    };
    let failures = u32::try_from(event.attempts)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let retry_at = retry
        .pause_ms(failures)
        .map(|pause_ms| tx.now().plus_ms(pause_ms));
    Entity::update_many()
        .set(outbox::ActiveModel {
            attempts: Set(i64::from(failures)),
            next_attempt_at: Set(retry_at.map_or(event.next_attempt_at, time_to_column)),
            dead: Set(retry_at.is_none()),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .exec(tx)
        .await?;
    Ok(retry_at.map_or(Failed::Dead, Failed::RetryAt))
}

#[cfg(test)]
mod tests;
