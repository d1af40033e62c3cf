//! Concerts, their performances, and the seats of each.

use serde::{Deserialize, Serialize};

use super::command::FieldError;
use super::currency::Currency;
use super::money::{AMOUNT_MINOR_MAX, Money};
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::time::UnixMs;

/// Characters of a concert's name.
pub const NAME_CHARS_MAX: usize = 200;
/// Characters of a concert's description.
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// Seats of one performance. They are made in one transaction, which must be
/// short beside the lease's life; an arena is sold as several performances.
pub const SEATS_PER_PERFORMANCE_MAX: u64 = 20_000;
/// Seats of one row: best-available reads whole rows.
pub const SEATS_PER_ROW_MAX: u32 = 1_000;
/// Sections of one performance.
pub const SECTIONS_MAX: usize = 200;
/// Longest life of a hold, extension included.
pub const HOLD_TOTAL_MS_MAX: u64 = 86_400_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concert {
    pub id: ResourceId,
    pub name: String,
    pub description: String,
    pub venue: String,
    /// Earliest among its performances that have not ended.
    pub sale_opens_at: Option<UnixMs>,
    /// Every performance is.
    pub sold_out: bool,
    pub room: Option<RoomId>,
    /// The etag.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewConcert {
    pub name: String,
    pub description: String,
    pub venue: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerformanceState {
    Scheduled,
    Cancelled,
}

/// What an operator decides about a performance, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPerformance {
    pub concert: ResourceId,
    pub starts_at: UnixMs,
    pub sale_opens_at: UnixMs,
    /// `None`: until `starts_at`.
    pub sale_closes_at: Option<UnixMs>,
    pub sections: Vec<Section>,
    pub hold_ttl_ms: u64,
    /// How long a hold may last with its extension.
    pub hold_total_max_ms: u64,
    /// Held and bought together.
    pub seats_per_user_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    pub id: ResourceId,
    pub terms: NewPerformance,
    pub state: PerformanceState,
    /// Every seat is SOLD or BLOCKED.
    pub sold_out: bool,
    pub room: Option<RoomId>,
    /// The etag.
    pub version: u64,
}

/// A part of the house with one price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub name: String,
    pub price: Money,
    /// From the front to the back.
    pub rows: Vec<SeatRow>,
}

/// A row of seats, numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRow {
    pub name: String,
    pub seat_count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeatState {
    Available,
    Held,
    Sold,
    Blocked,
}

impl SeatState {
    pub const ALL: [Self; 4] = [Self::Available, Self::Held, Self::Sold, Self::Blocked];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Blocked => "blocked",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A seat as it stands at the moment of reading: an expired hold is AVAILABLE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub id: ResourceId,
    pub section: String,
    pub row: String,
    pub number: u32,
    pub price: Money,
    pub state: SeatState,
    /// Raised by every change, over all seats of the performance.
    pub version: u64,
    /// In HELD: when it becomes AVAILABLE by itself.
    pub held_until: Option<UnixMs>,
}

/// All seats of a performance, in the order of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatMap {
    pub performance: Performance,
    /// All, or those changed since the version that was asked for.
    pub seats: Vec<Seat>,
    /// Changes up to here are in `seats`.
    pub version: u64,
    /// When the next hold ends by time.
    pub next_expiry: Option<UnixMs>,
    /// The database's clock.
    pub as_of: UnixMs,
}

impl Seat {
    /// As it stands at `now`: a hold that has ended is AVAILABLE before anyone
    /// swept it.
    #[must_use]
    pub fn at(&self, now: UnixMs) -> Self {
        let mut seat = self.clone();
        if seat.state == SeatState::Held && seat.held_until.is_some_and(|until| until <= now) {
            seat.state = SeatState::Available;
        }
        seat
    }
}

impl NewConcert {
    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        let chars = |text: &str| text.chars().count();
        if self.name.trim().is_empty() || chars(&self.name) > NAME_CHARS_MAX {
            return Err(FieldError::new(
                "concert.name",
                "must have 1 to 200 characters",
            ));
        }
        if chars(&self.description) > DESCRIPTION_CHARS_MAX {
            return Err(FieldError::new(
                "concert.description",
                "must have at most 4000 characters",
            ));
        }
        if chars(&self.venue) > NAME_CHARS_MAX {
            return Err(FieldError::new(
                "concert.venue",
                "must have at most 200 characters",
            ));
        }
        Ok(())
    }
}

impl NewPerformance {
    /// The one currency of all its prices; `None` without sections.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.sections.first().map(|section| section.price.currency)
    }

    #[must_use]
    pub fn sale_is_open(&self, now: UnixMs) -> bool {
        self.sale_opens_at <= now && now < self.sale_closes_at.unwrap_or(self.starts_at)
    }

    #[must_use]
    pub fn seats_total(&self) -> u64 {
        self.sections.iter().map(Section::seats_total).sum()
    }

    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        let refuse = |field, why| Err(FieldError::new(field, why));
        let closes_at = self.sale_closes_at.unwrap_or(self.starts_at);
        if closes_at <= self.sale_opens_at {
            return refuse("performance.sale_closes_at", "must be after sale_opens_at");
        }
        if closes_at > self.starts_at {
            return refuse("performance.sale_closes_at", "must not be after starts_at");
        }
        if self.hold_ttl_ms < 1_000 || self.hold_ttl_ms > HOLD_TOTAL_MS_MAX {
            return refuse("performance.hold_ttl", "must be between 1 s and 24 h");
        }
        if self.hold_total_max_ms < self.hold_ttl_ms || self.hold_total_max_ms > HOLD_TOTAL_MS_MAX {
            return refuse(
                "performance.hold_total_max",
                "must be between hold_ttl and 24 h",
            );
        }
        if self.seats_per_user_max == 0
            || u64::from(self.seats_per_user_max) > SEATS_PER_PERFORMANCE_MAX
        {
            return refuse("performance.seats_per_user_max", "must be 1 to 20000");
        }
        self.validate_house()
    }

    fn validate_house(&self) -> Result<(), FieldError> {
        let refuse = |why| Err(FieldError::new("performance.sections", why));
        let Some(currency) = self.currency() else {
            return refuse("must have at least one section");
        };
        if self.sections.len() > SECTIONS_MAX {
            return refuse("must be at most 200");
        }
        for (index, section) in self.sections.iter().enumerate() {
            if self.sections[..index]
                .iter()
                .any(|s| s.name == section.name)
            {
                return refuse("must have different names");
            }
            if section.price.currency != currency {
                return refuse("must all be priced in one currency");
            }
            section.validate()?;
        }
        if self.seats_total() > SEATS_PER_PERFORMANCE_MAX {
            return refuse("must have at most 20000 seats together");
        }
        Ok(())
    }
}

impl Section {
    #[must_use]
    pub fn seats_total(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.seat_count)).sum()
    }

    pub(super) fn validate_name(name: &str) -> Result<(), FieldError> {
        if name.trim().is_empty() || name.chars().count() > 64 {
            let why = "must have 1 to 64 characters";
            return Err(FieldError::new("performance.sections.name", why));
        }
        Ok(())
    }

    pub(super) fn validate_price(price: Money) -> Result<(), FieldError> {
        if price.charge(AMOUNT_MINOR_MAX).is_err() {
            let why = "must be between 1 and 1000000000000 minor units";
            return Err(FieldError::new("performance.sections.price", why));
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), FieldError> {
        let refuse = |field, why| Err(FieldError::new(field, why));
        Self::validate_name(&self.name)?;
        Self::validate_price(self.price)?;
        if self.rows.is_empty() || self.rows.len() > 1_000 {
            return refuse("performance.sections.rows", "must be 1 to 1000");
        }
        for (index, row) in self.rows.iter().enumerate() {
            if row.name.trim().is_empty() || row.name.chars().count() > 16 {
                return refuse(
                    "performance.sections.rows.name",
                    "must have 1 to 16 characters",
                );
            }
            if self.rows[..index]
                .iter()
                .any(|other| other.name == row.name)
            {
                return refuse("performance.sections.rows", "must have different names");
            }
            if row.seat_count == 0 || row.seat_count > SEATS_PER_ROW_MAX {
                return refuse("performance.sections.rows.seat_count", "must be 1 to 1000");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn performance() -> NewPerformance {
        NewPerformance {
            concert: ResourceId::parse("c").unwrap(),
            starts_at: UnixMs(100_000),
            sale_opens_at: UnixMs(10_000),
            sale_closes_at: None,
            sections: vec![Section {
                name: "Stalls".to_owned(),
                price: Money::new(Currency::parse("KRW").unwrap(), 100),
                rows: vec![SeatRow {
                    name: "A".to_owned(),
                    seat_count: 10,
                }],
            }],
            hold_ttl_ms: 60_000,
            hold_total_max_ms: 120_000,
            seats_per_user_max: 4,
        }
    }

    fn rows_of_1000(rows: u32) -> Vec<SeatRow> {
        let row = |name: u32| SeatRow {
            name: name.to_string(),
            seat_count: 1_000,
        };
        (1..=rows).map(row).collect()
    }

    #[test]
    fn a_sale_is_open_from_its_opening_until_its_close() {
        let until_start = performance();
        let cases = [
            (9_999, false),
            (10_000, true),
            (99_999, true),
            (100_000, false),
        ];
        for (now, open) in cases {
            assert_eq!(until_start.sale_is_open(UnixMs(now)), open, "{now}");
        }
        let closing = NewPerformance {
            sale_closes_at: Some(UnixMs(50_000)),
            ..performance()
        };
        assert!(!closing.sale_is_open(UnixMs(50_000)));
    }

    #[test]
    fn a_performance_that_cannot_be_names_its_field() {
        type Change = fn(&mut NewPerformance);
        let cases: [(&str, Change); 11] = [
            ("performance.sale_closes_at", |p| {
                p.sale_closes_at = Some(UnixMs(1))
            }),
            ("performance.sale_closes_at", |p| {
                p.sale_closes_at = Some(UnixMs(100_001));
            }),
            ("performance.hold_ttl", |p| p.hold_ttl_ms = 0),
            ("performance.hold_total_max", |p| {
                p.hold_total_max_ms = 1_000
            }),
            ("performance.seats_per_user_max", |p| {
                p.seats_per_user_max = 0
            }),
            ("performance.seats_per_user_max", |p| {
                p.seats_per_user_max = 20_001;
            }),
            ("performance.sections", |p| {
                p.sections[0].rows = rows_of_1000(21);
            }),
            ("performance.sections", |p| p.sections.clear()),
            ("performance.sections", |p| {
                p.sections.push(p.sections[0].clone());
            }),
            ("performance.sections.price", |p| {
                p.sections[0].price.amount_minor = 0;
            }),
            ("performance.sections.rows.seat_count", |p| {
                p.sections[0].rows[0].seat_count = u32::MAX;
            }),
        ];
        assert_eq!(performance().validate(), Ok(()));
        let mut full = performance();
        full.sections[0].rows = rows_of_1000(20);
        assert_eq!(full.validate(), Ok(()));
        for (field, change) in cases {
            let mut bad = performance();
            change(&mut bad);
            assert_eq!(bad.validate().unwrap_err().field, field);
        }
    }
}
