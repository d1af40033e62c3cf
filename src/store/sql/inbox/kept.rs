//! Events that are kept for consumers of this process.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::super::columns::{from_column, time_from_column, time_to_column, to_column};
use super::super::entity::kept_event::{ActiveModel, Column, Entity, Model};
use super::super::query::one;
use super::super::unit::insert_missing;
use super::super::{SqlStore, Tx, leases};
use super::ROWS_PER_STATEMENT;
use crate::bus::OutboxEvent;
use crate::store::inbox::InboxError;
use crate::store::kept::Kept;

/// Up to a limit.
const COUNT: &str = "\
SELECT COUNT(*) AS n FROM (\
SELECT event_id FROM kept_events WHERE consumer = $1 LIMIT $2) AS counted";

#[async_trait]
impl Kept for SqlStore {
    async fn keep(&self, consumer: &str, events: &[OutboxEvent]) -> Result<(), InboxError> {
        let rows: Result<Vec<ActiveModel>, InboxError> =
            events.iter().map(|event| row(consumer, event)).collect();
        self.write_background(rows?, |tx, rows| {
            async move {
                for rows in rows.chunks(ROWS_PER_STATEMENT) {
                    insert_missing(tx, rows.iter().cloned()).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn kept(
        &self,
        consumer: &str,
        holder: u64,
        lease_ms: u64,
        events_max: u32,
    ) -> Result<Vec<OutboxEvent>, InboxError> {
        let asked = (consumer.to_owned(), holder, events_max);
        let input = (consumer.to_owned(), holder, lease_ms);
        // A lease that lasts needs no write.
        let leased: Result<Option<Vec<OutboxEvent>>, InboxError> = self
            .read(asked, move |tx, (consumer, holder, events_max)| {
                async move {
                    let names = vec![lease_name(consumer)];
                    let (lasting, open) = leases::sort(tx, names, *holder, lease_ms / 2).await?;
                    match (lasting.is_empty(), open.is_empty()) {
                        (false, _) => Ok(Some(first(tx, consumer, *events_max).await?)),
                        (true, false) => Ok(None),
                        // Another has it.
                        (true, true) => Ok(Some(Vec::new())),
                    }
                }
                .boxed()
            })
            .await;
        if let Some(events) = leased? {
            return Ok(events);
        }
        let taken: Result<bool, InboxError> = self
            .write_background(input, |tx, (consumer, holder, lease_ms)| {
                async move {
                    let name = lease_name(consumer);
                    Ok(leases::take(tx, &name, *holder, *lease_ms).await?)
                }
                .boxed()
            })
            .await;
        if !taken? {
            return Ok(Vec::new());
        }
        self.read((consumer.to_owned(), events_max), |tx, (consumer, most)| {
            async move { Ok(first(tx, consumer, *most).await?) }.boxed()
        })
        .await
    }

    async fn let_go(&self, consumer: &str, events: &[OutboxEvent]) -> Result<(), InboxError> {
        let ids: Vec<i64> = events
            .iter()
            .filter_map(|event| event.id.parse().ok())
            .collect();
        self.write_background((consumer.to_owned(), ids), |tx, (consumer, ids)| {
            async move {
                for ids in ids.chunks(ROWS_PER_STATEMENT) {
                    Entity::delete_many()
                        .filter(Column::Consumer.eq(consumer))
                        .filter(Column::EventId.is_in(ids.iter().copied()))
                        .exec(tx)
                        .await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn count_kept(&self, consumer: &str, count_max: u32) -> Result<u64, InboxError> {
        self.read((consumer.to_owned(), count_max), |tx, (consumer, most)| {
            async move {
                let values = [consumer.as_str().into(), i64::from(*most).into()];
                let row = one(tx, COUNT, values).await?;
                Ok(row.map_or(Ok(0), |row| row.count("n"))?)
            }
            .boxed()
        })
        .await
    }
}

fn lease_name(consumer: &str) -> String {
    format!("kept:{consumer}")
}

async fn first(tx: &Tx, consumer: &str, most: u32) -> Result<Vec<OutboxEvent>, sea_orm::DbErr> {
    // By their rows: in an aggregate these rise with its versions.
    let rows = Entity::find()
        .filter(Column::Consumer.eq(consumer))
        .order_by_asc(Column::EventId)
        .limit(u64::from(most))
        .all(tx)
        .await?;
    Ok(rows.into_iter().map(event).collect())
}

fn row(consumer: &str, event: &OutboxEvent) -> Result<ActiveModel, InboxError> {
    let id = event.id.parse().map_err(|_| InboxError::Refused {
        id: event.id.clone(),
        why: "it is no row of the outbox".to_owned(),
    })?;
    Ok(ActiveModel {
        consumer: Set(consumer.to_owned()),
        event_id: Set(id),
        aggregate: Set(event.aggregate.clone()),
        version: Set(to_column(event.version)),
        kind: Set(event.kind.clone()),
        payload: Set(event.payload.clone()),
        created_at: Set(time_to_column(event.created_at)),
    })
}

fn event(row: Model) -> OutboxEvent {
    OutboxEvent {
        id: row.event_id.to_string(),
        aggregate: row.aggregate,
        version: from_column(row.version),
        kind: row.kind,
        payload: row.payload,
        created_at: time_from_column(row.created_at),
        route: None,
        trace: None,
    }
}
