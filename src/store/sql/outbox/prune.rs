//! Deleting events that were published long ago, a page at a time by id. Rows
//! that stay are passed over; the caller goes on behind them, and begins anew
//! only now and then.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::super::columns::{from_column, time_to_column, to_column};
use super::super::entity::outbox::{Column, Entity};
use super::super::query::all;
use super::super::{SqlStore, Tx};
use crate::domain::time::UnixMs;
use crate::store::outbox::{OutboxError, PUBLISHED_KEPT_MS, Pruned};

const PRUNABLE: &str = include_str!("prunable.sql");

/// A page of the table.
struct Page {
    over: Vec<i64>,
    next: u64,
    is_end: bool,
}

pub async fn prune(store: &SqlStore, after: u64, rows_max: u32) -> Result<Pruned, OutboxError> {
    // A read: a table with nothing to delete is not written.
    let page = store
        .read((after, rows_max), |tx, (after, rows_max)| {
            Box::pin(page(tx, *after, *rows_max))
        })
        .await?;
    let (next, is_end) = (page.next, page.is_end);
    let events = match page.over.is_empty() {
        true => 0,
        false => {
            store
                .write_background(page.over, |tx, over| Box::pin(delete(tx, over)))
                .await?
        }
    };
    Ok(Pruned {
        events,
        next,
        is_end,
    })
}

async fn page(tx: &Tx, after: u64, rows_max: u32) -> Result<Page, OutboxError> {
    let published_by = UnixMs(tx.now().0.saturating_sub(PUBLISHED_KEPT_MS));
    let values = [
        time_to_column(published_by).into(),
        to_column(after).into(),
        i64::from(rows_max).into(),
    ];
    let rows = all(tx, PRUNABLE, values).await?;
    let mut page = Page {
        over: Vec::new(),
        next: after,
        is_end: rows.len() < usize::try_from(rows_max).unwrap_or(usize::MAX),
    };
    for row in &rows {
        let id = row.signed("id")?;
        if row.count("is_over")? == 1 {
            page.over.push(id);
        }
        if row.time("created_at")? <= published_by {
            page.next = from_column(id);
        }
    }
    // Ids follow the time, nearly: what comes behind a young row is young.
    let last = rows.last().map(|row| row.signed("id")).transpose()?;
    page.is_end |= last.is_some_and(|last| from_column(last) > page.next);
    Ok(page)
}

async fn delete(tx: &Tx, over: &[i64]) -> Result<u64, OutboxError> {
    let deleted = Entity::delete_many()
        .filter(Column::Id.is_in(over.iter().copied()))
        .filter(Column::PublishedAt.is_not_null())
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected)
}
