//! Records of events that consumers gave up.

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::super::Tx;
use super::super::columns::{from_column, time_from_column, time_to_column};
use super::super::entity::dead_letter::{Column, Entity, Model};
use crate::bus::OutboxEvent;
use crate::store::inbox::{DeadLetter, InboxError};

pub async fn read(
    tx: &Tx,
    consumer: Option<&str>,
    after: Option<&DeadLetter>,
    letters_max: u32,
) -> Result<Vec<DeadLetter>, InboxError> {
    let mut letters = Entity::find();
    if let Some(consumer) = consumer {
        letters = letters.filter(Column::Consumer.eq(consumer));
    }
    if let Some(after) = after {
        letters = letters.filter(behind(after));
    }
    let rows = letters
        .order_by_asc(Column::ParkedAt)
        .order_by_asc(Column::EventId)
        .order_by_asc(Column::Consumer)
        .limit(u64::from(letters_max))
        .all(tx)
        .await?;
    Ok(rows.into_iter().map(letter).collect())
}

fn behind(after: &DeadLetter) -> Condition {
    let at = time_to_column(after.parked_at);
    let id = &after.event.id;
    let then = |of: Condition| Condition::all().add(Column::ParkedAt.eq(at)).add(of);
    let next_id = Condition::all().add(Column::EventId.gt(id));
    let next_consumer = Condition::all()
        .add(Column::EventId.eq(id))
        .add(Column::Consumer.gt(&after.consumer));
    Condition::any()
        .add(Column::ParkedAt.gt(at))
        .add(then(next_id))
        .add(then(next_consumer))
}

fn letter(row: Model) -> DeadLetter {
    DeadLetter {
        event: OutboxEvent {
            id: row.event_id,
            aggregate: row.aggregate,
            version: from_column(row.version),
            kind: row.kind,
            payload: row.payload,
            created_at: time_from_column(row.created_at),
            route: None,
            trace: None,
        },
        consumer: row.consumer,
        why: row.why,
        parked_at: time_from_column(row.parked_at),
    }
}

/// The note in the inbox stays: the event has come.
pub async fn discard(tx: &Tx, consumer: Option<&str>, event_id: &str) -> Result<u64, InboxError> {
    let mut ended = Entity::delete_many().filter(Column::EventId.eq(event_id));
    if let Some(consumer) = consumer {
        ended = ended.filter(Column::Consumer.eq(consumer));
    }
    Ok(ended.exec(tx).await?.rows_affected)
}
