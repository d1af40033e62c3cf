//! Concerts and performances as an operator writes them.

use crate::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use crate::proto::v1 as wire;

use super::{FieldError, duration_ms, money, printable, required, resource_id, timestamp};

/// How long a hold lasts where the operator says nothing.
const HOLD_TTL_MS: u64 = 300_000;

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

fn of_domain(error: crate::domain::sale::command::FieldError) -> FieldError {
    FieldError::invalid(error.field, error.why)
}
