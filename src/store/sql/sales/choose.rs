//! The best available seats, read and chosen inside the transaction that takes
//! them.
//!
//! Counters refuse first, without a look at the seats. Then free seats are read
//! in the order of the house, a window of whole rows at a time: a choice lies
//! within one row, or in the first rows, so it never needs two windows.

use super::super::Tx;
use super::super::columns::to_column;
use super::super::query::{Binds, Row, all, one};
use super::expiry;
use super::seats;
use crate::domain::ids::ResourceId;
use crate::domain::sale::best::{self, FreeSeat};
use crate::domain::sale::catalog::{SEATS_PER_ROW_MAX, Seat};
use crate::domain::sale::command::{BestAvailable, FieldError, SEATS_PER_HOLD_MAX};
use crate::domain::sale::currency::Currency;
use crate::store::sales::SalesError;

/// Several of the longest rows, so that dropping a cut one leaves enough.
const WINDOW_SEATS: usize = 4 * SEATS_PER_ROW_MAX as usize;
const _: () = assert!(WINDOW_SEATS > SEATS_PER_ROW_MAX as usize + SEATS_PER_HOLD_MAX);

const COUNTERS: &str = "\
SELECT ordinal, available, held FROM sections WHERE performance_id = $1";

pub async fn best(
    tx: &Tx,
    performance: &ResourceId,
    currency: Currency,
    wish: &BestAvailable,
) -> Result<Vec<Seat>, SalesError> {
    let max_price_minor = match wish.max_price {
        Some(max_price) => Some(max_price.in_currency(currency)?.amount_minor),
        None => None,
    };
    let wanted = usize::try_from(wish.count).unwrap_or(usize::MAX);
    let filter = Filter {
        section: section(tx, performance, wish).await?,
        max_price_minor,
    };
    for attempt in 0..2 {
        let (available, held) = counters(tx, performance, filter.section).await?;
        if available >= u64::from(wish.count)
            && let Some(ids) = search(tx, performance, &filter, wanted, wish.adjacent).await?
        {
            return in_order(tx, performance, &ids).await;
        }
        // Holds that are over by time may give what is missing.
        if attempt > 0 || held == 0 || !expiry::end_all_due(tx, performance).await? {
            break;
        }
    }
    Err(SalesError::SoldOut)
}

struct Filter {
    section: Option<i64>,
    max_price_minor: Option<i64>,
}

async fn section(
    tx: &Tx,
    performance: &ResourceId,
    wish: &BestAvailable,
) -> Result<Option<i64>, SalesError> {
    let Some(name) = &wish.section else {
        return Ok(None);
    };
    let query = format!("{COUNTERS} AND name = $2");
    let row = one(
        tx,
        &query,
        [performance.as_str().into(), name.as_str().into()],
    )
    .await?;
    match row {
        Some(row) => Ok(Some(row.signed("ordinal")?)),
        None => Err(FieldError::new(
            "best_available.section",
            "must be a section of the performance",
        )
        .into()),
    }
}

async fn counters(
    tx: &Tx,
    performance: &ResourceId,
    section: Option<i64>,
) -> Result<(u64, u64), SalesError> {
    let rows = all(tx, COUNTERS, [performance.as_str().into()]).await?;
    let (mut available, mut held) = (0, 0);
    for row in rows {
        if section.is_none_or(|wanted| row.signed("ordinal") == Ok(wanted)) {
            available += row.count("available")?;
            held += row.count("held")?;
        }
    }
    Ok((available, held))
}

async fn search(
    tx: &Tx,
    performance: &ResourceId,
    filter: &Filter,
    wanted: usize,
    adjacent: bool,
) -> Result<Option<Vec<ResourceId>>, SalesError> {
    let mut after_row = 0;
    loop {
        let mut rows = window(tx, performance, filter, after_row).await?;
        let is_last = rows.len() < WINDOW_SEATS;
        let mut free = rows.iter().map(free_seat).collect::<Result<Vec<_>, _>>()?;
        if !is_last && let Some(cut) = free.last().map(|seat| seat.row_rank) {
            free.retain(|seat| seat.row_rank < cut);
            rows.truncate(free.len());
        }
        if let Some(chosen) = best::choose(&free, wanted, adjacent) {
            let ids = chosen.into_iter().map(|index| rows[index].id("id"));
            return Ok(Some(ids.collect::<Result<_, _>>()?));
        }
        match free.last() {
            Some(last) if !is_last => after_row = last.row_rank,
            _ => return Ok(None),
        }
    }
}

async fn window(
    tx: &Tx,
    performance: &ResourceId,
    filter: &Filter,
    after_row: u64,
) -> Result<Vec<Row>, SalesError> {
    let mut binds = Binds::default();
    let mut query = format!(
        "SELECT id, row_rank, number, row_seats FROM seats \
         WHERE performance_id = {} AND state = 'available' AND row_rank > {}",
        binds.bind(performance.as_str()),
        binds.bind(to_column(after_row)),
    );
    if let Some(section) = filter.section {
        query += &format!(" AND section = {}", binds.bind(section));
    }
    if let Some(max_price_minor) = filter.max_price_minor {
        query += &format!(" AND price_minor <= {}", binds.bind(max_price_minor));
    }
    query += &format!(" ORDER BY row_rank, number LIMIT {WINDOW_SEATS}");
    Ok(all(tx, &query, binds.values()).await?)
}

fn free_seat(row: &Row) -> Result<FreeSeat, SalesError> {
    Ok(FreeSeat {
        row_rank: row.count("row_rank")?,
        number: row.small("number")?,
        row_seats: row.small("row_seats")?,
    })
}

/// The chosen seats, in the order of the house.
async fn in_order(
    tx: &Tx,
    performance: &ResourceId,
    ids: &[ResourceId],
) -> Result<Vec<Seat>, SalesError> {
    let mut chosen = seats::named(tx, performance, ids).await?.seats;
    chosen.sort_by_key(|seat| ids.iter().position(|id| *id == seat.id));
    Ok(chosen)
}
