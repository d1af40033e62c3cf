//! Commands as users give them, and why one is refused before any row is read.

use serde::{Deserialize, Serialize};

use super::money::Money;
use crate::domain::ids::ResourceId;

/// Seats in one request, whatever a performance allows.
pub const SEATS_PER_HOLD_MAX: usize = 100;

/// A field that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Path of the field as the API names it.
    pub field: &'static str,
    pub why: &'static str,
}

impl FieldError {
    #[must_use]
    pub fn new(field: &'static str, why: &'static str) -> Self {
        Self { field, why }
    }
}

/// Which seats a hold is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeatChoice {
    Named(Vec<ResourceId>),
    BestAvailable(BestAvailable),
}

/// Let the server choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestAvailable {
    pub count: u32,
    /// Only this section.
    pub section: Option<String>,
    /// Each seat at most this.
    pub max_price: Option<Money>,
    /// Neighbours in one row.
    pub adjacent: bool,
}

impl SeatChoice {
    /// # Errors
    /// No seats, too many, or one twice.
    pub fn validate(&self) -> Result<(), FieldError> {
        match self {
            Self::Named(seats) if seats.is_empty() => Err(FieldError::new(
                "seat_ids",
                "must name at least one seat, or best_available be set",
            )),
            Self::Named(seats) if seats.len() > SEATS_PER_HOLD_MAX => {
                Err(FieldError::new("seat_ids", "must be at most 100"))
            }
            Self::Named(seats) => {
                let mut sorted: Vec<&ResourceId> = seats.iter().collect();
                sorted.sort_unstable();
                if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(FieldError::new("seat_ids", "must name each seat once"));
                }
                Ok(())
            }
            Self::BestAvailable(wish) => {
                let count = usize::try_from(wish.count).unwrap_or(usize::MAX);
                if count == 0 || count > SEATS_PER_HOLD_MAX {
                    return Err(FieldError::new("best_available.count", "must be 1 to 100"));
                }
                Ok(())
            }
        }
    }

    /// How many seats it is for.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Named(seats) => seats.len(),
            Self::BestAvailable(wish) => usize::try_from(wish.count).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(count: usize) -> SeatChoice {
        SeatChoice::Named(
            (0..count)
                .map(|n| ResourceId::parse(&format!("s{n}")).unwrap())
                .collect(),
        )
    }

    fn best(count: u32) -> SeatChoice {
        SeatChoice::BestAvailable(BestAvailable {
            count,
            section: None,
            max_price: None,
            adjacent: false,
        })
    }

    #[test]
    fn a_choice_has_one_to_a_hundred_different_seats() {
        for good in [named(1), named(100), best(1), best(100)] {
            assert_eq!(good.validate(), Ok(()));
        }
        for bad in [
            named(0),
            named(101),
            named(100_000),
            best(0),
            best(101),
            best(u32::MAX),
        ] {
            assert!(bad.validate().is_err());
        }
        let twice = ResourceId::parse("s1").unwrap();
        let duplicate =
            SeatChoice::Named(vec![twice.clone(), ResourceId::parse("s0").unwrap(), twice]);
        assert_eq!(duplicate.validate().unwrap_err().field, "seat_ids");
    }
}
