//! Events that the sink refused, and what an operator does about them.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::super::Tx;
use super::super::columns::{from_column, time_from_column, time_to_column, to_column};
use super::super::entity::outbox::{self, Column, Entity, Model};
use crate::bus::OutboxEvent;
use crate::domain::trace::Trace;
use crate::store::outbox::{OUTBOX_PARTITIONS, OutboxError};

pub async fn read(tx: &Tx, after: u64, events_max: u32) -> Result<Vec<OutboxEvent>, OutboxError> {
    let rows = Entity::find()
        .filter(Column::PartitionNo.is_in(0..i64::from(OUTBOX_PARTITIONS)))
        .filter(Column::Dead.eq(true))
        .filter(Column::PublishedAt.is_null())
        .filter(Column::Id.gt(to_column(after)))
        .order_by_asc(Column::Id)
        .limit(u64::from(events_max))
        .all(tx)
        .await?;
    Ok(rows.into_iter().map(event).collect())
}

fn event(row: Model) -> OutboxEvent {
    OutboxEvent {
        id: row.id.to_string(),
        aggregate: row.aggregate,
        version: from_column(row.version),
        kind: row.kind,
        payload: row.payload,
        created_at: time_from_column(row.created_at),
        route: None,
        trace: row.trace.as_deref().and_then(Trace::from_text),
    }
}

/// Its row stays as long as those of published ones: versions are counted by it.
pub async fn discard(tx: &Tx, id: i64) -> Result<bool, OutboxError> {
    let discarded = Entity::update_many()
        .set(outbox::ActiveModel {
            dead: Set(false),
            published_at: Set(Some(time_to_column(tx.now()))),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .filter(Column::Dead.eq(true))
        .filter(Column::PublishedAt.is_null())
        .exec(tx)
        .await?;
    Ok(discarded.rows_affected > 0)
}

pub async fn revive(tx: &Tx) -> Result<u64, OutboxError> {
    let revived = Entity::update_many()
        .set(outbox::ActiveModel {
            dead: Set(false),
            attempts: Set(0),
            next_attempt_at: Set(0),
            ..Default::default()
        })
        .filter(Column::Dead.eq(true))
        .filter(Column::PublishedAt.is_null())
        .exec(tx)
        .await?;
    Ok(revived.rows_affected)
}
