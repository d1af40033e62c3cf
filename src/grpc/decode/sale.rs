//! Concerts and performances as an operator writes them.

use crate::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use crate::domain::sale::change::{ConcertChange, PerformanceChange, SectionChange};
use crate::proto::v1 as wire;

use super::{
    FieldError, duration_ms, money, of_domain, printable, required, resource_id, timestamp,
};

/// How long a hold lasts where the operator says nothing.
const HOLD_TTL_MS: u64 = 300_000;

/// What of a concert can be changed.
pub const CONCERT_PATHS: &[&str] = &["name", "description", "venue"];
/// What of a performance can be changed.
pub const PERFORMANCE_PATHS: &[&str] = &["sale_opens_at", "sale_closes_at", "sections"];

/// # Errors
/// A field that cannot be.
pub fn concert(wire: wire::Concert) -> Result<NewConcert, FieldError> {
    let concert = NewConcert {
        name: printable("concert.name", wire.name)?,
        description: printable("concert.description", wire.description)?,
        venue: printable("concert.venue", wire.venue)?,
    };
    concert.validate().map_err(of_domain)?;
    Ok(concert)
}

/// # Errors
/// A field that cannot be.
pub fn performance(wire: wire::Performance) -> Result<NewPerformance, FieldError> {
    let moment = |field, given| timestamp(field, required(field, given)?);
    let hold_ttl_ms = match wire.hold_ttl {
        None => HOLD_TTL_MS,
        Some(given) => duration_ms("performance.hold_ttl", given)?,
    };
    let performance = NewPerformance {
        concert: resource_id("performance.concert_id", &wire.concert_id)?,
        starts_at: moment("performance.starts_at", wire.starts_at)?,
        sale_opens_at: moment("performance.sale_opens_at", wire.sale_opens_at)?,
        sale_closes_at: wire
            .sale_closes_at
            .map(|given| timestamp("performance.sale_closes_at", given))
            .transpose()?,
        sections: wire
            .sections
            .into_iter()
            .map(section)
            .collect::<Result<_, _>>()?,
        hold_ttl_ms,
        hold_total_max_ms: match wire.hold_total_max {
            None => hold_ttl_ms.saturating_mul(2),
            Some(given) => duration_ms("performance.hold_total_max", given)?,
        },
        seats_per_user_max: wire.seats_per_user_max,
    };
    performance.validate().map_err(of_domain)?;
    Ok(performance)
}

/// The fields that `paths` names.
///
/// # Errors
/// One of them cannot be.
pub fn concert_change(wire: wire::Concert, paths: &[&str]) -> Result<ConcertChange, FieldError> {
    let if_named = |path, field, given| {
        let named = paths.contains(&path).then_some(given);
        named.map(|given| printable(field, given)).transpose()
    };
    let change = ConcertChange {
        name: if_named("name", "concert.name", wire.name)?,
        description: if_named("description", "concert.description", wire.description)?,
        venue: if_named("venue", "concert.venue", wire.venue)?,
    };
    change.validate().map_err(of_domain)?;
    Ok(change)
}

/// As [`concert_change`].
///
/// # Errors
/// One of them cannot be.
pub fn performance_change(
    wire: wire::Performance,
    paths: &[&str],
) -> Result<PerformanceChange, FieldError> {
    let mut change = PerformanceChange::default();
    if paths.contains(&"sale_opens_at") {
        let field = "performance.sale_opens_at";
        let given = required(field, wire.sale_opens_at)?;
        change.sale_opens_at = Some(timestamp(field, given)?);
    }
    if paths.contains(&"sale_closes_at") {
        let read = |given| timestamp("performance.sale_closes_at", given);
        change.sale_closes_at = Some(wire.sale_closes_at.map(read).transpose()?);
    }
    if paths.contains(&"sections") {
        if wire.sections.is_empty() {
            return Err(FieldError::Missing("performance.sections"));
        }
        let sections = wire.sections.into_iter().map(section);
        change.sections = sections
            .map(|section| section.map(priced))
            .collect::<Result<_, FieldError>>()?;
    }
    change.validate().map_err(of_domain)?;
    Ok(change)
}

fn priced(section: Section) -> SectionChange {
    SectionChange {
        name: section.name,
        price: section.price,
        rows: section.rows,
    }
}

fn section(wire: wire::Section) -> Result<Section, FieldError> {
    let row = |row: wire::SeatRow| {
        Ok(SeatRow {
            name: printable("performance.sections.rows.name", row.name)?,
            seat_count: row.seat_count,
        })
    };
    Ok(Section {
        price: money("performance.sections.price", wire.price.as_ref())?,
        name: printable("performance.sections.name", wire.name)?,
        rows: wire
            .rows
            .into_iter()
            .map(row)
            .collect::<Result<_, FieldError>>()?,
    })
}
