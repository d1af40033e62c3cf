//! The inbox: which events a consumer has consumed, in the transaction of what
//! they did; and [`Inbox`] for the consumers that count in the database.
//!
//! Two nodes that are handed the same events at once meet in the inbox's key:
//! the second finds fewer rows inserted than it has events, changes nothing, and
//! comes again.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter,
};

use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::Concert;
use crate::domain::time::UnixMs;
use crate::store::inbox::{
    Coming, DeadLetter, Inbox, InboxError, Projection, RankCursor, RankedBy, SalesFigures,
};
use crate::store::sales::{Listing, Page};

use super::columns::{time_to_column, to_column};
use super::entity::{dead_letter, inbox};
use super::query::execute;
use super::unit::insert_missing;
use super::{SqlError, SqlStore, Tx};

pub(super) mod figures;
mod kept;
mod letters;
pub(super) mod listing;
mod outside;
mod ranking;
mod sales;

/// For the sake of the limit on parameters.
const ROWS_PER_STATEMENT: usize = 250;

/// Of the oldest: SQLite and PostgreSQL delete no limited number by themselves.
/// What is parked stays noted, or it would count once more if it came again.
const PRUNE: &str = "\
DELETE FROM inbox WHERE (consumer, event_id) IN (\
SELECT old.consumer, old.event_id FROM (\
SELECT consumer, event_id FROM inbox AS aged WHERE received_at <= $1 AND NOT EXISTS (\
SELECT 1 FROM dead_letters AS letter \
WHERE letter.consumer = aged.consumer AND letter.event_id = aged.event_id) \
ORDER BY received_at LIMIT $2) AS old)";

const PRUNE_ON_MARIADB: &str = "\
DELETE FROM inbox WHERE received_at <= $1 AND NOT EXISTS (\
SELECT 1 FROM dead_letters AS letter \
WHERE letter.consumer = inbox.consumer AND letter.event_id = inbox.event_id) \
ORDER BY received_at LIMIT $2";

impl From<SqlError> for InboxError {
    fn from(error: SqlError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<DbErr> for InboxError {
    fn from(error: DbErr) -> Self {
        SqlError::from(error).into()
    }
}

#[async_trait]
impl Inbox for SqlStore {
    async fn project(
        &self,
        projection: Projection,
        events: &[OutboxEvent],
        coming: Coming,
    ) -> Result<usize, InboxError> {
        let input = (projection, events.to_vec(), coming);
        self.write_background(input, |tx, (projection, events, coming)| {
            project(tx, *projection, events, *coming).boxed()
        })
        .await
    }

    async fn unconsumed(
        &self,
        consumer: &str,
        events: &[OutboxEvent],
        coming: Coming,
    ) -> Result<BTreeSet<String>, InboxError> {
        let input = (consumer.to_owned(), events.to_vec(), coming);
        self.read(input, |tx, (consumer, events, coming)| {
            outside::unconsumed(tx, consumer, events, *coming).boxed()
        })
        .await
    }

    async fn settle(
        &self,
        consumer: &str,
        event_id: &str,
        coming: Coming,
    ) -> Result<(), InboxError> {
        let input = (consumer.to_owned(), event_id.to_owned(), coming);
        self.write_background(input, |tx, (consumer, event_id, coming)| {
            outside::settle(tx, consumer, event_id, *coming).boxed()
        })
        .await
    }

    async fn park(
        &self,
        consumer: &str,
        event: &OutboxEvent,
        why: &str,
    ) -> Result<bool, InboxError> {
        let input = (consumer.to_owned(), event.clone(), why.to_owned());
        self.write_background(input, |tx, (consumer, event, why)| {
            park(tx, consumer, event, why).boxed()
        })
        .await
    }

    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        after: Option<&DeadLetter>,
        letters_max: u32,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let input = (consumer.map(str::to_owned), after.cloned(), letters_max);
        self.read(input, |tx, (consumer, after, letters_max)| {
            letters::read(tx, consumer.as_deref(), after.as_ref(), *letters_max).boxed()
        })
        .await
    }

    async fn discard(&self, consumer: Option<&str>, event_id: &str) -> Result<u64, InboxError> {
        let input = (consumer.map(str::to_owned), event_id.to_owned());
        self.write_background(input, |tx, (consumer, event_id)| {
            letters::discard(tx, consumer.as_deref(), event_id).boxed()
        })
        .await
    }

    async fn count_dead_letters(&self) -> Result<u64, InboxError> {
        self.read((), |tx, ()| {
            async move { Ok(dead_letter::Entity::find().count(tx).await?) }.boxed()
        })
        .await
    }

    async fn prune_inbox(&self, kept_ms: u64, rows_max: u32) -> Result<u64, InboxError> {
        self.write_background((kept_ms, rows_max), |tx, (kept_ms, rows_max)| {
            async move {
                let received_by = UnixMs(tx.now().0.saturating_sub(*kept_ms));
                let values = [
                    time_to_column(received_by).into(),
                    i64::from(*rows_max).into(),
                ];
                let prune = match tx.get_database_backend() {
                    DbBackend::MySql => PRUNE_ON_MARIADB,
                    _ => PRUNE,
                };
                Ok(execute(tx, prune, values).await?)
            }
            .boxed()
        })
        .await
    }

    async fn sales_figures(
        &self,
        performance: Option<&ResourceId>,
    ) -> Result<Option<SalesFigures>, InboxError> {
        self.read(performance.cloned(), |tx, performance| {
            figures::read(tx, performance.as_ref()).boxed()
        })
        .await
    }

    async fn ranked_concerts(
        &self,
        by: RankedBy,
        page: Page<RankCursor>,
    ) -> Result<Listing<Concert, RankCursor>, InboxError> {
        self.read((by, page), |tx, (by, page)| {
            listing::ranked(tx, *by, page).boxed()
        })
        .await
    }
}

async fn project(
    tx: &Tx,
    projection: Projection,
    events: &[OutboxEvent],
    coming: Coming,
) -> Result<usize, InboxError> {
    let consumer = projection.consumer();
    let ids = match coming {
        Coming::Fresh => note_fresh(tx, consumer, events).await?,
        Coming::Redriven => take_parked(tx, consumer, events).await?,
    };
    let mut events: Vec<&OutboxEvent> = events.iter().collect();
    let mut left = ids.clone();
    // Twice in one batch is once.
    events.retain(|event| left.remove(&event.id));
    match projection {
        Projection::Sales => sales::count(tx, &events).await?,
        Projection::Ranking => ranking::count(tx, &events).await?,
    }
    Ok(ids.len())
}

/// Notes those that were not consumed before; answers their ids.
async fn note_fresh(
    tx: &Tx,
    consumer: &str,
    events: &[OutboxEvent],
) -> Result<BTreeSet<String>, InboxError> {
    let mut fresh: BTreeSet<String> = events.iter().map(|event| event.id.clone()).collect();
    let ids: Vec<String> = fresh.iter().cloned().collect();
    for id in outside::known(tx, consumer, &ids).await? {
        fresh.remove(&id);
    }
    let ids: Vec<&String> = fresh.iter().collect();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let rows = ids.iter().map(|id| note(consumer, id, tx.now()));
        if insert_missing(tx, rows).await? != ids.len() as u64 {
            return Err(SqlError::Contended.into());
        }
    }
    Ok(fresh)
}

fn note(consumer: &str, id: &str, now: UnixMs) -> inbox::ActiveModel {
    inbox::ActiveModel {
        consumer: Set(consumer.to_owned()),
        event_id: Set(id.to_owned()),
        received_at: Set(time_to_column(now)),
    }
}

/// Ends the records of those that are still parked; answers their ids.
async fn take_parked(
    tx: &Tx,
    consumer: &str,
    events: &[OutboxEvent],
) -> Result<BTreeSet<String>, InboxError> {
    let mut taken = BTreeSet::new();
    for event in events {
        let ended = dead_letter::Entity::delete_many()
            .filter(dead_letter::Column::Consumer.eq(consumer))
            .filter(dead_letter::Column::EventId.eq(&event.id))
            .exec(tx)
            .await?;
        if ended.rows_affected > 0 {
            taken.insert(event.id.clone());
        }
    }
    Ok(taken)
}

async fn park(tx: &Tx, consumer: &str, event: &OutboxEvent, why: &str) -> Result<bool, InboxError> {
    if insert_missing(tx, [note(consumer, &event.id, tx.now())]).await? == 0 {
        return Ok(false);
    }
    dead_letter::Entity::insert(dead_letter::ActiveModel {
        consumer: Set(consumer.to_owned()),
        event_id: Set(event.id.clone()),
        aggregate: Set(event.aggregate.clone()),
        version: Set(to_column(event.version)),
        kind: Set(event.kind.clone()),
        payload: Set(event.payload.clone()),
        created_at: Set(time_to_column(event.created_at)),
        why: Set(why.to_owned()),
        parked_at: Set(time_to_column(tx.now())),
    })
    .exec_without_returning(tx)
    .await?;
    Ok(true)
}

/// An event's body.
fn body<'a, T: serde::Deserialize<'a>>(event: &'a OutboxEvent) -> Result<T, InboxError> {
    serde_json::from_str(&event.payload).map_err(|error| InboxError::Refused {
        id: event.id.clone(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
