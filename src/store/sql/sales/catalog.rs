//! Reading concerts and performances.

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::query::{Row, all, one, unreadable};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{
    Concert, NewPerformance, Performance, PerformanceState, Section,
};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::{ConcertCursor, Listing, Page, PerformanceCursor, SalesError};

/// `$1` is now: a sale that is over does not count as opening. `open_seats` are
/// those neither sold nor blocked; NULL without any seat.
const CONCERTS: &str = include_str!("concerts.sql");

const ONE_CONCERT: &str = " WHERE id = $2";

/// After `(group, position, id)`; a NULL group asks for the first page.
const PAGE_OF_CONCERTS: &str = " \
WHERE sort_group > $3 OR (sort_group = $3 AND (sort_position > $4 \
OR (sort_position = $4 AND id > $5))) \
ORDER BY sort_group, sort_position, id LIMIT $6";

const PERFORMANCES: &str = "\
SELECT p.*, COALESCE(own.room_id, concert.room_id) AS room_id, \
(SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT) FROM sections \
WHERE performance_id = p.id) AS open_seats \
FROM performances p \
LEFT JOIN protects own ON own.target_kind = 'performance' AND own.target_id = p.id \
LEFT JOIN protects concert ON concert.target_kind = 'concert' AND concert.target_id = p.concert_id";

const ONE_PERFORMANCE: &str = " WHERE p.id = $1";

const PAGE_OF_PERFORMANCES: &str = " \
WHERE p.concert_id = $1 AND (p.starts_at > $2 OR (p.starts_at = $2 AND p.id > $3)) \
ORDER BY p.starts_at, p.id LIMIT $4";

const SECTIONS: &str = "\
SELECT name, price_minor, rows_json FROM sections WHERE performance_id = $1 ORDER BY ordinal";

pub async fn concert(tx: &Tx, id: &ResourceId) -> Result<Concert, SalesError> {
    let query = format!(
        "SELECT * FROM ({}) AS listed{ONE_CONCERT}",
        concerts_at("$1")
    );
    let now = time_to_column(tx.now());
    let row = one(tx, &query, [now.into(), id.as_str().into()]).await?;
    read_concert(&row.ok_or(SalesError::NotFound)?)
}

pub async fn concerts(
    tx: &Tx,
    page: &Page<ConcertCursor>,
) -> Result<Listing<Concert, ConcertCursor>, SalesError> {
    let anchor = page.after.as_ref().map_or(tx.now(), |after| after.anchor);
    let (group, position, id) = page.after.as_ref().map_or((-1, 0, ""), |after| {
        let position = position(after.group, after.opens_at);
        (i64::from(after.group), position, after.id.as_str())
    });
    let query = format!(
        "SELECT * FROM ({}) AS listed{PAGE_OF_CONCERTS}",
        concerts_at("$2")
    );
    let values = [
        time_to_column(tx.now()).into(),
        time_to_column(anchor).into(),
        group.into(),
        position.into(),
        id.into(),
        i64::from(page.size() + 1).into(),
    ];
    let rows = all(tx, &query, values).await?;
    let concerts = rows
        .iter()
        .map(read_concert)
        .collect::<Result<Vec<Concert>, SalesError>>()?;
    let anchor = match &page.after {
        Some(_) => anchor,
        None => latest_opening(&concerts, anchor),
    };
    Ok(page.listing(concerts, |last| cursor(last, anchor)))
}

/// Of the first page, which begins with it: until the next sale opens, all first
/// pages are followed by the same pages, and those who keep pages find them.
fn latest_opening(first_page: &[Concert], now: UnixMs) -> UnixMs {
    let first = first_page.first().and_then(|concert| concert.sale_opens_at);
    first.filter(|at| *at <= now).unwrap_or_default()
}

/// The sort key follows `anchor`, the clock of the first page.
pub fn concerts_at(anchor: &str) -> String {
    CONCERTS.replace("{anchor}", anchor)
}

/// Open sales count down from the latest, those to come count up.
fn position(group: u8, opens_at: UnixMs) -> i64 {
    match group {
        0 => -time_to_column(opens_at),
        1 => time_to_column(opens_at),
        _ => 0,
    }
}

fn cursor(concert: &Concert, anchor: UnixMs) -> ConcertCursor {
    let group = match concert.sale_opens_at {
        Some(opens_at) if opens_at <= anchor => 0,
        Some(_) => 1,
        None => 2,
    };
    ConcertCursor {
        anchor,
        group,
        opens_at: concert.sale_opens_at.unwrap_or_default(),
        id: concert.id.clone(),
    }
}

pub fn read_concert(row: &Row) -> Result<Concert, SalesError> {
    Ok(Concert {
        id: row.id("id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        venue: row.text("venue")?,
        sale_opens_at: row.opt_time("opens_at")?,
        sold_out: row.count("seats")? > 0 && row.count("open_seats")? == 0,
        room: row.opt_room("room_id")?,
        version: row.count("version")?,
    })
}

pub async fn performance(tx: &Tx, id: &ResourceId) -> Result<Performance, SalesError> {
    let query = format!("{PERFORMANCES}{ONE_PERFORMANCE}");
    let row = one(tx, &query, [id.as_str().into()]).await?;
    read_performance(tx, &row.ok_or(SalesError::NotFound)?).await
}

pub async fn performances(
    tx: &Tx,
    concert: &ResourceId,
    page: &Page<PerformanceCursor>,
) -> Result<Listing<Performance, PerformanceCursor>, SalesError> {
    self::concert(tx, concert).await?;
    let (starts_at, id) = page.after.as_ref().map_or((-1, ""), |after| {
        (time_to_column(after.starts_at), after.id.as_str())
    });
    let query = format!("{PERFORMANCES}{PAGE_OF_PERFORMANCES}");
    let values = [
        concert.as_str().into(),
        starts_at.into(),
        id.into(),
        i64::from(page.size() + 1).into(),
    ];
    let mut performances = Vec::new();
    for row in &all(tx, &query, values).await? {
        performances.push(read_performance(tx, row).await?);
    }
    Ok(page.listing(performances, |last| PerformanceCursor {
        starts_at: last.terms.starts_at,
        id: last.id.clone(),
    }))
}

async fn read_performance(tx: &Tx, row: &Row) -> Result<Performance, SalesError> {
    let id = row.id("id")?;
    let currency = row.currency("currency")?;
    let terms = NewPerformance {
        concert: row.id("concert_id")?,
        starts_at: row.time("starts_at")?,
        sale_opens_at: row.time("sale_opens_at")?,
        sale_closes_at: row.opt_time("sale_closes_at")?,
        sections: sections(tx, &id, currency).await?,
        hold_ttl_ms: row.count("hold_ttl_ms")?,
        hold_total_max_ms: row.count("hold_total_max_ms")?,
        seats_per_user_max: row.small("seats_per_user_max")?,
    };
    Ok(Performance {
        id,
        terms,
        state: row.parsed("state", state_from_name)?,
        sold_out: row.count("open_seats")? == 0,
        room: row.opt_room("room_id")?,
        version: row.count("version")?,
    })
}

async fn sections(
    tx: &Tx,
    performance: &ResourceId,
    currency: Currency,
) -> Result<Vec<Section>, SalesError> {
    let rows = all(tx, SECTIONS, [performance.as_str().into()]).await?;
    let read = |row: &Row| {
        Ok(Section {
            name: row.text("name")?,
            price: Money::new(currency, row.signed("price_minor")?),
            rows: serde_json::from_str(&row.text("rows_json")?)
                .map_err(|_| unreadable("rows_json"))?,
        })
    };
    rows.iter().map(read).collect()
}

pub fn state_from_name(name: &str) -> Option<PerformanceState> {
    match name {
        "scheduled" => Some(PerformanceState::Scheduled),
        "cancelled" => Some(PerformanceState::Cancelled),
        _ => None,
    }
}
