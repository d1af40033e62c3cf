//! Notes of consumers whose effects are outside of the database.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::super::Tx;
use super::super::entity::dead_letter;
use super::super::list::List;
use super::super::unit::insert_missing;
use super::{ROWS_PER_STATEMENT, note};
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, InboxError};

const KNOWN: &str = "\
SELECT i.event_id FROM {list} LEFT JOIN inbox AS i ON i.consumer = $1 AND i.event_id = v.id";

pub async fn unconsumed(
    tx: &Tx,
    consumer: &str,
    events: &[OutboxEvent],
    coming: Coming,
) -> Result<BTreeSet<String>, InboxError> {
    let mut open: BTreeSet<String> = events.iter().map(|event| event.id.clone()).collect();
    let ids: Vec<String> = open.iter().cloned().collect();
    match coming {
        Coming::Fresh => {
            for id in known(tx, consumer, &ids).await? {
                open.remove(&id);
            }
            Ok(open)
        }
        Coming::Redriven => parked(tx, consumer, &ids).await,
    }
}

/// Those that were consumed or given up.
pub async fn known(tx: &Tx, consumer: &str, ids: &[String]) -> Result<Vec<String>, InboxError> {
    let list = List::of_ids(ids.iter().map(String::as_str));
    let mut known = Vec::new();
    for row in &list.all(tx, KNOWN, [consumer.into()]).await? {
        known.extend(row.opt_text("event_id")?);
    }
    Ok(known)
}

async fn parked(tx: &Tx, consumer: &str, ids: &[String]) -> Result<BTreeSet<String>, InboxError> {
    let mut parked = BTreeSet::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let found = dead_letter::Entity::find()
            .select_only()
            .column(dead_letter::Column::EventId)
            .filter(dead_letter::Column::Consumer.eq(consumer))
            .filter(dead_letter::Column::EventId.is_in(ids))
            .into_tuple::<String>()
            .all(tx)
            .await?;
        parked.extend(found);
    }
    Ok(parked)
}

pub async fn settle(
    tx: &Tx,
    consumer: &str,
    event_id: &str,
    coming: Coming,
) -> Result<(), InboxError> {
    match coming {
        Coming::Fresh => {
            insert_missing(tx, [note(consumer, event_id, tx.now())]).await?;
        }
        Coming::Redriven => {
            dead_letter::Entity::delete_many()
                .filter(dead_letter::Column::Consumer.eq(consumer))
                .filter(dead_letter::Column::EventId.eq(event_id))
                .exec(tx)
                .await?;
        }
    }
    Ok(())
}
