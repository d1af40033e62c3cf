//! Notes of consumers whose effects are outside of the database.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::super::Tx;
use super::super::entity::{dead_letter, inbox};
use super::super::unit::insert_missing;
use super::{ROWS_PER_STATEMENT, note};
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, InboxError};

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
    let mut known = Vec::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let found = inbox::Entity::find()
            .select_only()
            .column(inbox::Column::EventId)
            .filter(inbox::Column::Consumer.eq(consumer))
            .filter(inbox::Column::EventId.is_in(ids))
            .into_tuple::<String>()
            .all(tx)
            .await?;
        known.extend(found);
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
