//! Deleting events that were published long ago, a page at a time by id. Rows
//! that stay are passed over; the caller goes on behind them, and begins anew
//! only now and then.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::super::columns::{from_column, time_to_column, to_column};
use super::super::entity::outbox::{Column, Entity};
use super::super::query::all;
use super::super::{SqlStore, Tx, marks};
use crate::domain::time::UnixMs;
use crate::store::outbox::{OutboxError, Pruned};

const PRUNABLE: &str = include_str!("prunable.sql");

/// A page of the table.
struct Page {
    over: Vec<i64>,
    published_by: UnixMs,
    next: u64,
    is_end: bool,
}

pub async fn prune(store: &SqlStore, after: u64, rows_max: u32) -> Result<Pruned, OutboxError> {
    // A read: a table with nothing to delete is not written.
    let input = (after, rows_max, store.settings.events_kept_ms);
    let page = store
        .read(input, |tx, &(after, rows_max, kept_ms)| {
            Box::pin(page(tx, after, rows_max, kept_ms))
        })
        .await?;
    let (next, is_end) = (page.next, page.is_end);
    let events = match page.over.is_empty() {
        true => 0,
        false => {
            store
                .write_background(page, |tx, page| Box::pin(delete(tx, page)))
                .await?
        }
    };
    Ok(Pruned {
        events,
        next,
        is_end,
    })
}

async fn page(tx: &Tx, after: u64, rows_max: u32, kept_ms: u64) -> Result<Page, OutboxError> {
    let published_by = UnixMs(tx.now().0.saturating_sub(kept_ms));
    let values = [
        time_to_column(published_by).into(),
        to_column(after).into(),
        i64::from(rows_max).into(),
    ];
    let rows = all(tx, PRUNABLE, values).await?;
    let mut page = Page {
        over: Vec::new(),
        published_by,
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

/// With the mark by which an audit knows what may be gone.
async fn delete(tx: &Tx, page: &Page) -> Result<u64, OutboxError> {
    marks::lift(tx, marks::EVENTS_PRUNED, page.published_by.0).await?;
    let deleted = Entity::delete_many()
        .filter(Column::Id.is_in(page.over.iter().copied()))
        .filter(Column::PublishedAt.is_not_null())
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected)
}
