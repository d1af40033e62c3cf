//! Reservations: seats held for a limited time, then confirmed or given back.
//!
//! HELD → CONFIRMED (paid) | RELEASED (by its owner) | EXPIRED (by time), and
//! CONFIRMED → CANCELLED. A hold is live while `expires_at > now` by the
//! database's clock, whatever its row says.

use serde::{Deserialize, Serialize};

use super::command::FieldError;
use super::money::Money;
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    Held,
    Confirmed,
    Released,
    Expired,
    Cancelled,
}

impl ReservationState {
    pub const ALL: [Self; 5] = [
        Self::Held,
        Self::Confirmed,
        Self::Released,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One seat of a reservation, at the price of the moment it was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedSeat {
    pub seat: ResourceId,
    pub section: String,
    pub row: String,
    pub number: u32,
    pub price: Money,
}

/// The right to one seat. Its signed code is made from these at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub seat: ResourceId,
    /// Raised at each sale of the seat; a gate refuses a lower one.
    pub serial: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: ResourceId,
    pub performance: ResourceId,
    pub user: UserId,
    /// The activation under which it was held; none where no room protects.
    pub activation: Option<ActivationId>,
    pub seats: Vec<ReservedSeat>,
    pub total: Money,
    /// As stored; see [`Reservation::state_at`].
    pub state: ReservationState,
    pub created_at: UnixMs,
    pub expires_at: UnixMs,
    pub extended: bool,
    /// In CONFIRMED, one per seat.
    pub tickets: Vec<Ticket>,
    pub payment: Option<ResourceId>,
}

/// A reservation some of whose seats are given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted {
    /// What is left of it.
    pub rest: Reservation,
    pub given_back: Vec<ReservedSeat>,
    /// What these cost together.
    pub cost: Money,
}

/// What the owner cannot do with it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefusal {
    #[error("the hold has ended")]
    Ended,
    #[error("the reservation is paid")]
    AlreadyPaid,
    #[error("the hold cannot be extended again")]
    ExtensionLimit,
}

impl Reservation {
    /// Where it stands: a hold past its time is EXPIRED before anyone swept it.
    #[must_use]
    pub fn state_at(&self, now: UnixMs) -> ReservationState {
        if self.state == ReservationState::Held && self.expires_at <= now {
            ReservationState::Expired
        } else {
            self.state
        }
    }

    /// # Errors
    /// Unless it is a live hold.
    pub fn require_live(&self, now: UnixMs) -> Result<(), HoldRefusal> {
        match self.state_at(now) {
            ReservationState::Held => Ok(()),
            ReservationState::Confirmed => Err(HoldRefusal::AlreadyPaid),
            ReservationState::Released
            | ReservationState::Expired
            | ReservationState::Cancelled => Err(HoldRefusal::Ended),
        }
    }

    /// Gives these seats back, each named once; `None` if nothing would be left.
    ///
    /// # Errors
    /// One of them is not in it.
    pub fn part(&self, seats: &[ResourceId]) -> Result<Option<Parted>, FieldError> {
        let is_named = |seat: &ReservedSeat| seats.contains(&seat.seat);
        let (given_back, kept): (Vec<_>, Vec<_>) = self.seats.iter().cloned().partition(is_named);
        if given_back.len() < seats.len() {
            let why = "must be seats of the reservation";
            return Err(FieldError::new("seat_ids", why));
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let sum = |seats: &[ReservedSeat]| {
            let amounts = seats.iter().map(|seat| seat.price.amount_minor);
            // Part of a total that fits.
            Money::new(self.total.currency, amounts.sum())
        };
        let tickets = self.tickets.iter();
        let rest = Self {
            total: sum(&kept),
            tickets: tickets
                .filter(|ticket| !seats.contains(&ticket.seat))
                .cloned()
                .collect(),
            seats: kept,
            ..self.clone()
        };
        Ok(Some(Parted {
            rest,
            cost: sum(&given_back),
            given_back,
        }))
    }

    /// Its end after an extension: `ttl_ms` from now, within `total_max_ms` of
    /// its beginning.
    ///
    /// # Errors
    /// If it is not live, was extended before, or would not get longer.
    pub fn extended_until(
        &self,
        now: UnixMs,
        ttl_ms: u64,
        total_max_ms: u64,
    ) -> Result<UnixMs, HoldRefusal> {
        self.require_live(now)?;
        let until = now
            .plus_ms(ttl_ms)
            .min(self.created_at.plus_ms(total_max_ms));
        if self.extended || until <= self.expires_at {
            return Err(HoldRefusal::ExtensionLimit);
        }
        Ok(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::currency::Currency;

    fn hold() -> Reservation {
        Reservation {
            id: ResourceId::parse("r").unwrap(),
            performance: ResourceId::parse("p").unwrap(),
            user: UserId::parse("alice").unwrap(),
            activation: None,
            seats: Vec::new(),
            total: Money::zero(Currency::parse("KRW").unwrap()),
            state: ReservationState::Held,
            created_at: UnixMs(1_000),
            expires_at: UnixMs(2_000),
            extended: false,
            tickets: Vec::new(),
            payment: None,
        }
    }

    #[test]
    fn a_hold_is_over_in_the_millisecond_it_expires() {
        assert_eq!(hold().require_live(UnixMs(1_999)), Ok(()));
        assert_eq!(hold().require_live(UnixMs(2_000)), Err(HoldRefusal::Ended));
        assert_eq!(hold().state_at(UnixMs(2_000)), ReservationState::Expired);
    }

    fn seat(number: u32, price_minor: i64) -> ReservedSeat {
        ReservedSeat {
            seat: ResourceId::parse(&format!("s{number}")).unwrap(),
            section: String::new(),
            row: String::new(),
            number,
            price: Money::new(Currency::parse("KRW").unwrap(), price_minor),
        }
    }

    #[test]
    fn a_part_and_the_rest_are_the_whole() {
        let ids = |names: &[&str]| -> Vec<ResourceId> {
            let ids = names.iter().map(|name| ResourceId::parse(name).unwrap());
            ids.collect()
        };
        let ticket = |number: u32| Ticket {
            seat: seat(number, 1).seat,
            serial: 1,
        };
        let whole = Reservation {
            seats: vec![seat(1, 10), seat(2, 20), seat(3, 30)],
            total: Money::new(Currency::parse("KRW").unwrap(), 60),
            tickets: vec![ticket(1), ticket(2), ticket(3)],
            ..hold()
        };
        let parted = whole.part(&ids(&["s3", "s1"])).unwrap().unwrap();
        assert_eq!(parted.rest.seats, [seat(2, 20)]);
        assert_eq!(parted.rest.tickets, [ticket(2)]);
        assert_eq!(parted.given_back, [seat(1, 10), seat(3, 30)]);
        let amounts = (parted.rest.total, parted.cost);
        assert_eq!((amounts.0.amount_minor, amounts.1.amount_minor), (20, 40));
        assert_eq!(whole.part(&ids(&["s1", "s2", "s3"])), Ok(None));
        for unknown in [ids(&["s4"]), ids(&["s1", "s2", "s3", "s4"])] {
            assert_eq!(whole.part(&unknown).unwrap_err().field, "seat_ids");
        }
    }

    #[test]
    fn an_extension_is_given_once_and_within_the_total() {
        assert_eq!(
            hold().extended_until(UnixMs(1_500), 1_000, 5_000),
            Ok(UnixMs(2_500))
        );
        assert_eq!(
            hold().extended_until(UnixMs(1_500), 1_000, 1_200),
            Ok(UnixMs(2_200)),
            "the total binds"
        );
        for (refused, why) in [
            (
                hold().extended_until(UnixMs(1_500), 1_000, 1_000),
                "at its longest",
            ),
            (
                Reservation {
                    extended: true,
                    ..hold()
                }
                .extended_until(UnixMs(1_500), 1_000, 5_000),
                "extended before",
            ),
        ] {
            assert_eq!(refused, Err(HoldRefusal::ExtensionLimit), "{why}");
        }
        assert_eq!(
            hold().extended_until(UnixMs(2_000), 1_000, 5_000),
            Err(HoldRefusal::Ended)
        );
    }
}
