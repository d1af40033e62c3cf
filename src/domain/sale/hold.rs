//! Reservations: seats held for a limited time, then confirmed or given back.
//!
//! HELD → CONFIRMED (paid) | RELEASED (by its owner) | EXPIRED (by time), and
//! CONFIRMED → CANCELLED. A hold is live while `expires_at > now` by the
//! database's clock, whatever its row says.

use serde::{Deserialize, Serialize};

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
