//! What an operator changes of a concert or a performance that is there.

use serde::{Deserialize, Serialize};

use super::catalog::{Concert, NewConcert, NewPerformance, SECTIONS_MAX, SeatRow, Section};
use super::command::FieldError;
use super::money::Money;
use crate::domain::time::UnixMs;

/// `None`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcertChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub venue: Option<String>,
}

impl ConcertChange {
    /// What can be told without the concert.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        let said =
            |changed: &Option<String>, good: &str| changed.as_deref().unwrap_or(good).to_owned();
        NewConcert {
            name: said(&self.name, "unchanged"),
            description: said(&self.description, ""),
            venue: said(&self.venue, ""),
        }
        .validate()
    }

    #[must_use]
    pub fn applied(&self, to: &Concert) -> NewConcert {
        let or = |changed: &Option<String>, now: &String| changed.as_ref().unwrap_or(now).clone();
        NewConcert {
            name: or(&self.name, &to.name),
            description: or(&self.description, &to.description),
            venue: or(&self.venue, &to.venue),
        }
    }
}

/// The sale's window, and prices of seats that are not sold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerformanceChange {
    pub sale_opens_at: Option<UnixMs>,
    /// `Some(None)`: until the beginning.
    pub sale_closes_at: Option<Option<UnixMs>>,
    /// Sections that are not named keep their price.
    pub sections: Vec<SectionChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionChange {
    pub name: String,
    pub price: Money,
    /// None: not said. They are fixed.
    pub rows: Vec<SeatRow>,
}

impl PerformanceChange {
    /// What can be told without the performance.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        if self.sections.len() > SECTIONS_MAX {
            let why = "must be at most 200";
            return Err(FieldError::new("performance.sections", why));
        }
        for (index, section) in self.sections.iter().enumerate() {
            let before = &self.sections[..index];
            if before.iter().any(|other| other.name == section.name) {
                let why = "must have different names";
                return Err(FieldError::new("performance.sections", why));
            }
            Section::validate_name(&section.name)?;
            Section::validate_price(section.price)?;
        }
        Ok(())
    }

    /// The terms after it.
    ///
    /// # Errors
    /// A section that is not there, or rows other than its own.
    pub fn applied(&self, to: &NewPerformance) -> Result<NewPerformance, FieldError> {
        let mut terms = to.clone();
        if let Some(opens_at) = self.sale_opens_at {
            terms.sale_opens_at = opens_at;
        }
        if let Some(closes_at) = self.sale_closes_at {
            terms.sale_closes_at = closes_at;
        }
        for change in &self.sections {
            let mut sections = terms.sections.iter_mut();
            let Some(section) = sections.find(|section| section.name == change.name) else {
                let why = "must be one of the performance's sections";
                return Err(FieldError::new("performance.sections.name", why));
            };
            if !change.rows.is_empty() && change.rows != section.rows {
                let why = "are fixed at creation";
                return Err(FieldError::new("performance.sections.rows", why));
            }
            section.price = change.price;
        }
        terms.validate()?;
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ResourceId;
    use crate::domain::sale::currency::Currency;

    fn money(amount_minor: i64) -> Money {
        Money::new(Currency::parse("EUR").unwrap(), amount_minor)
    }

    fn section(name: &str) -> Section {
        Section {
            name: name.to_owned(),
            price: money(100),
            rows: vec![SeatRow {
                name: "A".to_owned(),
                seat_count: 3,
            }],
        }
    }

    fn terms() -> NewPerformance {
        NewPerformance {
            concert: ResourceId::parse("c").unwrap(),
            starts_at: UnixMs(100_000),
            sale_opens_at: UnixMs(10_000),
            sale_closes_at: Some(UnixMs(50_000)),
            sections: vec![section("Stalls"), section("Box")],
            hold_ttl_ms: 60_000,
            hold_total_max_ms: 120_000,
            seats_per_user_max: 4,
        }
    }

    fn priced(name: &str, amount_minor: i64, rows: Vec<SeatRow>) -> PerformanceChange {
        PerformanceChange {
            sections: vec![SectionChange {
                name: name.to_owned(),
                price: money(amount_minor),
                rows,
            }],
            ..PerformanceChange::default()
        }
    }

    #[test]
    fn only_what_is_said_changes() {
        let nothing = PerformanceChange::default();
        assert_eq!(nothing.applied(&terms()), Ok(terms()));
        let mut dearer = terms();
        dearer.sections[1].price = money(150);
        assert_eq!(priced("Box", 150, vec![]).applied(&terms()), Ok(dearer));
        let window = PerformanceChange {
            sale_opens_at: Some(UnixMs(20_000)),
            sale_closes_at: Some(None),
            sections: vec![],
        };
        let applied = window.applied(&terms()).unwrap();
        assert_eq!(applied.sale_opens_at, UnixMs(20_000));
        assert_eq!(applied.sale_closes_at, None);
        assert_eq!(applied.sections, terms().sections);
    }

    #[test]
    fn what_cannot_be_names_its_field() {
        let other_rows = vec![SeatRow {
            name: "A".to_owned(),
            seat_count: 4,
        }];
        let late = PerformanceChange {
            sale_opens_at: Some(UnixMs(50_000)),
            ..PerformanceChange::default()
        };
        for (change, field) in [
            (priced("Roof", 1, vec![]), "performance.sections.name"),
            (priced("Box", 1, other_rows), "performance.sections.rows"),
            (late, "performance.sale_closes_at"),
        ] {
            assert_eq!(change.validate(), Ok(()));
            assert_eq!(change.applied(&terms()).unwrap_err().field, field);
        }
        let own_rows = priced("Box", 1, section("Box").rows);
        assert!(own_rows.applied(&terms()).is_ok());
        let mut twice = own_rows;
        twice.sections.push(twice.sections[0].clone());
        for (change, field) in [
            (priced("Box", 0, vec![]), "performance.sections.price"),
            (priced(" ", 1, vec![]), "performance.sections.name"),
            (twice, "performance.sections"),
        ] {
            assert_eq!(change.validate().unwrap_err().field, field);
        }
    }
}
