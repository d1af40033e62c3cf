//! The outbox: events that leave in the transaction that caused them, and
//! [`Outbox`] for the relays that publish them.
//!
//! Each event has a version, counted per aggregate from 1, and a partition that
//! follows from its aggregate. A relay that keeps the order within a partition
//! keeps it within every aggregate.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, QuerySelect, Statement,
};
use serde_json::Value;

use crate::bus::OutboxEvent;
use crate::store::outbox::{
    Backlog, Failed, OUTBOX_PARTITIONS, Outbox, OutboxError, Pruned, RetryPolicy, partition_of,
};

use super::columns::{from_column, time_from_column, time_to_column};
use super::entity::outbox::{self, Column, Entity};
use super::{SqlError, SqlStore, Tx, leases, locks};

mod many;
mod prune;

pub use many::{Event, append_all};

/// The next version is taken in the insert itself: [`prune`] never deletes the
/// last row of an aggregate that may have another.
const APPEND: &str = include_str!("outbox/append.sql");
const DELIVERABLE: &str = include_str!("outbox/deliverable.sql");

/// Ids per statement, for the sake of the limit on parameters.
const IDS_PER_STATEMENT: usize = 500;

/// Leaves an event in the unit's transaction. `aggregate` is what the event
/// speaks of, as `kind:id`: events of one aggregate arrive in order.
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
        ],
        1,
    );
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
    async fn claim_batch(
        &self,
        partition: u8,
        relay: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError> {
        let leased = self.write((partition, relay, lease_ms), |tx, input| {
            let (partition, relay, lease_ms) = *input;
            async move {
                if leases::take(tx, &lease_name(partition), relay, lease_ms).await? {
                    return Ok(());
                }
                Err(OutboxError::LeaseHeld { partition })
            }
            .boxed()
        });
        leased.await?;
        self.read((partition, events_max), |tx, (partition, events_max)| {
            deliverable(tx, *partition, *events_max).boxed()
        })
        .await
    }

    async fn mark_published(&self, events: &[OutboxEvent]) -> Result<(), OutboxError> {
        let ids: Vec<i64> = events.iter().filter_map(row_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.write(ids, |tx, ids| mark_published(tx, ids).boxed())
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
        self.write((id, retry), |tx, (id, retry)| {
            mark_failed(tx, *id, *retry).boxed()
        })
        .await
    }

    async fn release(&self, partition: u8, relay: u64) -> Result<(), OutboxError> {
        self.write((partition, relay), |tx, (partition, relay)| {
            async move { Ok(leases::release(tx, &lease_name(*partition), *relay).await?) }.boxed()
        })
        .await
    }

    async fn prune(&self, after: u64, rows_max: u32) -> Result<Pruned, OutboxError> {
        prune::prune(self, after, rows_max).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.read((), |tx, ()| backlog(tx).boxed()).await
    }
}

fn lease_name(partition: u8) -> String {
    format!("outbox:{partition}")
}

/// `None` for an id that this store never gave.
fn row_id(event: &OutboxEvent) -> Option<i64> {
    event.id.parse().ok()
}

async fn deliverable(
    tx: &Tx,
    partition: u8,
    events_max: u32,
) -> Result<Vec<OutboxEvent>, OutboxError> {
    let statement = Statement::from_sql_and_values(
        tx.get_database_backend(),
        DELIVERABLE,
        [
            i64::from(partition).into(),
            time_to_column(tx.now()).into(),
            i64::from(events_max).into(),
        ],
    );
    let rows = outbox::Model::find_by_statement(statement).all(tx).await?;
    let events = rows.into_iter().map(|row| OutboxEvent {
        id: row.id.to_string(),
        aggregate: row.aggregate,
        version: from_column(row.version),
        kind: row.kind,
        payload: row.payload,
    });
    Ok(events.collect())
}

async fn mark_published(tx: &Tx, ids: &[i64]) -> Result<(), OutboxError> {
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        Entity::update_many()
            .set(outbox::ActiveModel {
                published_at: Set(Some(time_to_column(tx.now()))),
                ..Default::default()
            })
            .filter(Column::Id.is_in(ids.iter().copied()))
            .filter(Column::PublishedAt.is_null())
            .exec(tx)
            .await?;
    }
    Ok(())
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

async fn backlog(tx: &Tx) -> Result<Backlog, OutboxError> {
    // By partition, as the index is: published rows are not looked at.
    let partitions = || (0..i64::from(OUTBOX_PARTITIONS)).collect::<Vec<_>>();
    let of = |dead: bool| {
        Entity::find()
            .filter(Column::PartitionNo.is_in(partitions()))
            .filter(Column::Dead.eq(dead))
    };
    let waiting = || of(false).filter(Column::PublishedAt.is_null());
    let oldest: Option<Option<i64>> = waiting()
        .select_only()
        .column_as(Column::CreatedAt.min(), "oldest")
        .into_tuple()
        .one(tx)
        .await?;
    Ok(Backlog {
        pending: waiting().count(tx).await?,
        dead: of(true).count(tx).await?,
        oldest: oldest.flatten().map(time_from_column),
    })
}

#[cfg(test)]
mod tests;
