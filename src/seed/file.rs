//! A catalog as people write it: times in RFC 3339, prices in minor units, only
//! what differs from the defaults.
//!
//! ```json
//! {"concerts": [{
//!   "id": "aurora", "name": "Aurora Strings", "venue": "Harbour Hall",
//!   "performances": [{
//!     "id": "aurora-1",
//!     "starts_at": "2030-05-01T19:30:00Z", "sale_opens_at": "2030-03-01T10:00:00Z",
//!     "currency": "EUR",
//!     "sections": [{"name": "Stalls", "price_minor": 6500, "rows": 20, "seats_per_row": 20}]
//!   }],
//!   "room": {"id": "aurora", "capacity": 500, "rate_per_s": 50}
//! }]}
//! ```

use std::collections::HashSet;

use prost_types::Timestamp;
use serde::Deserialize;

use super::{Catalog, SeedConcert, SeedError, SeedPerformance, SeedRoom};
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCatalog {
    pub concerts: Vec<FileConcert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConcert {
    pub id: ResourceId,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub venue: String,
    pub performances: Vec<FilePerformance>,
    pub room: Option<FileRoom>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePerformance {
    pub id: ResourceId,
    pub starts_at: String,
    pub sale_opens_at: String,
    pub sale_closes_at: Option<String>,
    pub currency: Currency,
    pub sections: Vec<FileSection>,
    #[serde(default = "hold_ttl_s")]
    pub hold_ttl_s: u64,
    #[serde(default = "hold_total_max_s")]
    pub hold_total_max_s: u64,
    #[serde(default = "seats_per_user_max")]
    pub seats_per_user_max: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSection {
    pub name: String,
    pub price_minor: i64,
    /// How many rows, named by their numbers.
    pub rows: usize,
    pub seats_per_row: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRoom {
    pub id: RoomId,
    /// The concert's name, if none is given.
    pub display_name: Option<String>,
    pub capacity: u64,
    pub rate_per_s: f64,
    pub opens_at: Option<String>,
    #[serde(default)]
    pub draw: bool,
    pub claim_window_s: Option<u64>,
    pub pass_ttl_s: Option<u64>,
}

pub(super) fn hold_ttl_s() -> u64 {
    300
}

pub(super) fn hold_total_max_s() -> u64 {
    600
}

pub(super) fn seats_per_user_max() -> u32 {
    4
}

/// # Errors
/// [`SeedError::Format`] with the line, the field or the performance.
pub fn parse_json(text: &str) -> Result<Catalog, SeedError> {
    let file: FileCatalog =
        serde_json::from_str(text).map_err(|error| SeedError::Format(error.to_string()))?;
    catalog(file)
}

pub(super) fn catalog(file: FileCatalog) -> Result<Catalog, SeedError> {
    let concerts = file.concerts.into_iter().map(concert);
    let catalog = Catalog {
        concerts: concerts.collect::<Result<_, _>>()?,
    };
    refuse_repeats(&catalog)?;
    Ok(catalog)
}

/// What has an id is made once: a second one of it would silently be left out.
fn refuse_repeats(catalog: &Catalog) -> Result<(), SeedError> {
    let concerts = || catalog.concerts.iter();
    let mut ids = HashSet::new();
    if let Some(twice) = concerts().find(|one| !ids.insert(&one.id)) {
        return Err(refused(&twice.id, "id: another concert has it"));
    }
    let mut ids = HashSet::new();
    let mut performances = concerts().flat_map(|one| &one.performances);
    if let Some(twice) = performances.find(|one| !ids.insert(&one.id)) {
        return Err(refused(&twice.id, "id: another performance has it"));
    }
    let mut ids = HashSet::new();
    let mut rooms = concerts().filter_map(|one| Some((&one.id, one.room.as_ref()?)));
    if let Some((concert, room)) = rooms.find(|(_, room)| !ids.insert(&room.id)) {
        let why = format!("room.id: room {} protects another concert", room.id);
        return Err(refused(concert, why));
    }
    Ok(())
}

fn concert(file: FileConcert) -> Result<SeedConcert, SeedError> {
    let concert = NewConcert {
        name: file.name,
        description: file.description,
        venue: file.venue,
    };
    let id = file.id;
    concert.validate().map_err(|error| refused(&id, error))?;
    let room = file.room.map(|room| self::room(&id, &concert.name, room));
    let performances = file.performances.into_iter();
    Ok(SeedConcert {
        performances: performances
            .map(|file| performance(&id, file))
            .collect::<Result<_, _>>()?,
        room: room.transpose()?,
        concert,
        id,
    })
}

fn performance(concert: &ResourceId, file: FilePerformance) -> Result<SeedPerformance, SeedError> {
    let id = file.id;
    let sections = file.sections.into_iter().map(|section| Section {
        name: section.name,
        price: Money::new(file.currency, section.price_minor),
        rows: (1..=section.rows)
            .map(|row| SeatRow {
                name: row.to_string(),
                seat_count: section.seats_per_row,
            })
            .collect(),
    });
    let closes_at = file.sale_closes_at.as_deref();
    let terms = NewPerformance {
        concert: concert.clone(),
        starts_at: time(&id, &file.starts_at)?,
        sale_opens_at: time(&id, &file.sale_opens_at)?,
        sale_closes_at: closes_at.map(|text| time(&id, text)).transpose()?,
        sections: sections.collect(),
        hold_ttl_ms: file.hold_ttl_s.saturating_mul(1_000),
        hold_total_max_ms: file.hold_total_max_s.saturating_mul(1_000),
        seats_per_user_max: file.seats_per_user_max,
    };
    terms.validate().map_err(|error| refused(&id, error))?;
    Ok(SeedPerformance { id, terms })
}

fn room(concert: &ResourceId, name: &str, file: FileRoom) -> Result<SeedRoom, SeedError> {
    let default = RoomPolicy::default();
    let opens_at = file.opens_at.as_deref();
    let in_ms = |span_s: Option<u64>, default_ms| {
        span_s.map_or(default_ms, |span_s| span_s.saturating_mul(1_000))
    };
    let policy = RoomPolicy {
        opens_at: opens_at.map(|text| time(concert, text)).transpose()?,
        order: if file.draw {
            ServingOrder::Draw
        } else {
            ServingOrder::Fifo
        },
        capacity: file.capacity,
        rate_per_s: file.rate_per_s,
        claim_window_ms: in_ms(file.claim_window_s, default.claim_window_ms),
        pass_ttl_ms: in_ms(file.pass_ttl_s, default.pass_ttl_ms),
        ..default
    };
    policy.validate().map_err(|error| refused(concert, error))?;
    Ok(SeedRoom {
        id: file.id,
        display_name: file.display_name.unwrap_or_else(|| name.to_owned()),
        policy,
    })
}

fn time(of: &ResourceId, text: &str) -> Result<UnixMs, SeedError> {
    let parsed: Timestamp = text
        .parse()
        .map_err(|_| refused(of, "not an RFC 3339 time"))?;
    let seconds = u64::try_from(parsed.seconds).map_err(|_| refused(of, "before 1970"))?;
    let millis = u64::try_from(parsed.nanos / 1_000_000).unwrap_or_default();
    Ok(UnixMs(seconds.saturating_mul(1_000)).plus_ms(millis))
}

fn refused(of: &ResourceId, why: impl std::fmt::Display) -> SeedError {
    SeedError::Format(format!("{of}: {why}"))
}
