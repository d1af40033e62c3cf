//! Creating concerts and performances, with one row per seat.

use super::super::columns::{time_to_column, to_column};
use super::super::idempotency::Slot;
use super::super::query::{Binds, execute, one, unreadable};
use super::super::rooms::records;
use super::super::{Tx, locks};
use super::catalog;
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Concert, NewConcert, NewPerformance, Performance, Section};
use crate::store::sales::{FirstCatalog, Once, SalesError};

/// Rows of one INSERT. SQLite looks each value's name up in a list of them all,
/// so that ten times the rows cost a hundred times the look-ups.
const SEATS_PER_INSERT: usize = 100;

const INSERT_CONCERT: &str = "\
INSERT INTO concerts (id, name, description, venue, version, created_at) \
VALUES ($1, $2, $3, $4, 1, $5)";

const CONCERT_EXISTS: &str = "SELECT id FROM concerts WHERE id = $1";

const ANYTHING: &str = "SELECT id FROM concerts UNION ALL SELECT id FROM rooms LIMIT 1";

const INSERT_PERFORMANCE: &str = "\
INSERT INTO performances (id, concert_id, starts_at, sale_opens_at, sale_closes_at, state, \
currency, hold_ttl_ms, hold_total_max_ms, seats_per_user_max, seats_version, version, created_at) \
VALUES ($1, $2, $3, $4, $5, 'scheduled', $6, $7, $8, $9, 1, 1, $10)";

const INSERT_SECTION: &str = "\
INSERT INTO sections (performance_id, ordinal, name, price_minor, rows_json, total, available, \
held, sold, blocked) VALUES ($1, $2, $3, $4, $5, $6, $6, 0, 0, 0)";

const INSERT_SEATS: &str = "\
INSERT INTO seats (performance_id, id, section, row_rank, row_name, number, row_seats, \
price_minor, state, version, serial) VALUES ";

pub async fn create_concert(
    tx: &Tx,
    once: &Once,
    id: &ResourceId,
    concert: &NewConcert,
) -> Result<Concert, SalesError> {
    let slot = Slot::new(once, "CreateConcert", concert)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    insert_concert(tx, id, concert).await?;
    slot.keep(tx, catalog::concert(tx, id).await?)
}

async fn insert_concert(tx: &Tx, id: &ResourceId, concert: &NewConcert) -> Result<(), SalesError> {
    execute(
        tx,
        INSERT_CONCERT,
        [
            id.as_str().into(),
            concert.name.as_str().into(),
            concert.description.as_str().into(),
            concert.venue.as_str().into(),
            time_to_column(tx.now()).into(),
        ],
    )
    .await?;
    Ok(())
}

pub async fn create_performance(
    tx: &Tx,
    once: &Once,
    id: &ResourceId,
    performance: &NewPerformance,
) -> Result<Performance, SalesError> {
    let slot = Slot::new(once, "CreatePerformance", performance)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    insert_performance(tx, id, performance).await?;
    slot.keep(tx, catalog::performance(tx, id).await?)
}

async fn insert_performance(
    tx: &Tx,
    id: &ResourceId,
    performance: &NewPerformance,
) -> Result<(), SalesError> {
    let concert = performance.concert.as_str();
    if one(tx, CONCERT_EXISTS, [concert.into()]).await?.is_none() {
        return Err(SalesError::NotFound);
    }
    let currency = performance
        .currency()
        .ok_or_else(|| unreadable("currency"))?;
    execute(
        tx,
        INSERT_PERFORMANCE,
        [
            id.as_str().into(),
            concert.into(),
            time_to_column(performance.starts_at).into(),
            time_to_column(performance.sale_opens_at).into(),
            performance.sale_closes_at.map(time_to_column).into(),
            currency.as_str().into(),
            to_column(performance.hold_ttl_ms).into(),
            to_column(performance.hold_total_max_ms).into(),
            i64::from(performance.seats_per_user_max).into(),
            time_to_column(tx.now()).into(),
        ],
    )
    .await?;
    for (ordinal, section) in performance.sections.iter().enumerate() {
        insert_section(tx, id, ordinal, section).await?;
    }
    insert_seats(tx, id, &performance.sections).await
}

/// Looks and creates in one transaction: one that is killed in between leaves
/// nothing, and nobody's rows are added to.
pub async fn create_first(tx: &Tx, first: &FirstCatalog) -> Result<bool, SalesError> {
    // Of nodes that start together on an empty database one makes it.
    locks::name(tx, "first catalog").await?;
    if one(tx, ANYTHING, []).await?.is_some() {
        return Ok(false);
    }
    for (id, concert) in &first.concerts {
        insert_concert(tx, id, concert).await?;
    }
    for (id, performance) in &first.performances {
        insert_performance(tx, id, performance).await?;
    }
    for room in &first.rooms {
        records::create(tx, room).await?;
    }
    Ok(true)
}

async fn insert_section(
    tx: &Tx,
    performance: &ResourceId,
    ordinal: usize,
    section: &Section,
) -> Result<(), SalesError> {
    let rows = serde_json::to_string(&section.rows).map_err(|_| unreadable("rows_json"))?;
    execute(
        tx,
        INSERT_SECTION,
        [
            performance.as_str().into(),
            index(ordinal).into(),
            section.name.as_str().into(),
            section.price.amount_minor.into(),
            rows.into(),
            to_column(section.seats_total()).into(),
        ],
    )
    .await?;
    Ok(())
}

/// A seat as it is inserted.
struct NewSeat<'a> {
    id: String,
    section: i64,
    price_minor: i64,
    /// Counts the rows of the house from the best section's front.
    row_rank: i64,
    row_name: &'a str,
    number: u32,
    row_seats: u32,
}

fn all_seats(sections: &[Section]) -> impl Iterator<Item = NewSeat<'_>> {
    let rows = sections.iter().enumerate().flat_map(|(section, of)| {
        let in_section = of.rows.iter().enumerate();
        in_section.map(move |(in_section, row)| (section, in_section, of, row))
    });
    rows.enumerate()
        .flat_map(|(rank, (section, in_section, of, row))| {
            (1..=row.seat_count).map(move |number| NewSeat {
                id: format!("s{}-r{}-{number}", section + 1, in_section + 1),
                section: index(section),
                price_minor: of.price.amount_minor,
                row_rank: index(rank + 1),
                row_name: &row.name,
                number,
                row_seats: row.seat_count,
            })
        })
}

async fn insert_seats(
    tx: &Tx,
    performance: &ResourceId,
    sections: &[Section],
) -> Result<(), SalesError> {
    let mut seats = all_seats(sections).peekable();
    while seats.peek().is_some() {
        let mut binds = Binds::default();
        let performance = binds.bind(performance.as_str());
        let rows: Vec<String> = seats
            .by_ref()
            .take(SEATS_PER_INSERT)
            .map(|seat| {
                let columns = [
                    binds.bind(seat.id),
                    binds.bind(seat.section),
                    binds.bind(seat.row_rank),
                    binds.bind(seat.row_name),
                    binds.bind(i64::from(seat.number)),
                    binds.bind(i64::from(seat.row_seats)),
                    binds.bind(seat.price_minor),
                ];
                format!("({performance}, {}, 'available', 1, 0)", columns.join(", "))
            })
            .collect();
        let insert = format!("{INSERT_SEATS}{}", rows.join(", "));
        execute(tx, &insert, binds.values()).await?;
    }
    Ok(())
}

fn index(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}
