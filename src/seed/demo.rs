//! The catalog of an empty database: three concerts of five performances with
//! 1,000 seats each, and a room in front of every concert.

use super::{Catalog, SeedConcert, SeedError, SeedPerformance, SeedRoom};
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::policy::RoomPolicy;
use crate::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;

const DAY_MS: u64 = 86_400_000;
const PERFORMANCES: u64 = 5;

/// Id, name, venue, description.
const CONCERTS: [(&str, &str, &str, &str); 3] = [
    (
        "aurora",
        "Aurora Strings: Winter Light",
        "Harbour Hall",
        "Forty strings, one evening of northern music.",
    ),
    (
        "tidal",
        "Tidal: The Long Way Home",
        "Old Brewery",
        "The last tour of the band, with all of its first record.",
    ),
    (
        "lanterns",
        "Night of Lanterns",
        "Garden Theatre",
        "Songs by candle light, under the open sky.",
    ),
];

/// Name, price in minor units, rows, seats per row: 1,000 seats.
const HOUSE: [(&str, i64, usize, u32); 3] = [
    ("Front stalls", 9_500, 10, 20),
    ("Stalls", 6_500, 20, 20),
    ("Balcony", 3_900, 16, 25),
];

/// Priced in `currency`, on sale from `now`; the performances are on the evenings of the next weeks.
///
/// # Errors
/// [`SeedError::Format`], which a test excludes.
pub fn demo_catalog(now: UnixMs, currency: Currency) -> Result<Catalog, SeedError> {
    let mut concerts = Vec::with_capacity(CONCERTS.len());
    for (index, (id, name, venue, description)) in (0_u64..).zip(CONCERTS) {
        let concert = ResourceId::parse(id).map_err(format)?;
        let mut performances = Vec::new();
        for night in 0..PERFORMANCES {
            let starts_at = now.plus_ms((30 + index * 7 + night) * DAY_MS);
            let performance = format!("{id}-{}", night + 1);
            performances.push(SeedPerformance {
                id: ResourceId::parse(&performance).map_err(self::format)?,
                terms: terms(concert.clone(), currency, now, starts_at),
            });
        }
        concerts.push(SeedConcert {
            id: concert,
            concert: NewConcert {
                name: name.to_owned(),
                description: description.to_owned(),
                venue: venue.to_owned(),
            },
            performances,
            room: Some(SeedRoom {
                id: RoomId::parse(id).map_err(self::format)?,
                display_name: name.to_owned(),
                policy: policy(),
            }),
        });
    }
    Ok(Catalog { concerts })
}

/// A crowd of some hundreds sees its positions move, and soon gets its turn.
fn policy() -> RoomPolicy {
    RoomPolicy {
        capacity: 50,
        rate_per_s: 10.0,
        claim_window_ms: 30_000,
        pass_ttl_ms: 300_000,
        ..RoomPolicy::default()
    }
}

fn terms(
    concert: ResourceId,
    currency: Currency,
    now: UnixMs,
    starts_at: UnixMs,
) -> NewPerformance {
    let sections = HOUSE.map(|(name, price_minor, rows, seat_count)| Section {
        name: name.to_owned(),
        price: Money::new(currency, price_minor),
        rows: (1..=rows)
            .map(|row| SeatRow {
                name: row.to_string(),
                seat_count,
            })
            .collect(),
    });
    NewPerformance {
        concert,
        starts_at,
        sale_opens_at: now,
        sale_closes_at: None,
        sections: sections.into(),
        hold_ttl_ms: 300_000,
        hold_total_max_ms: 600_000,
        seats_per_user_max: 4,
    }
}

fn format(error: crate::domain::ids::IdError) -> SeedError {
    SeedError::Format(error.to_string())
}
