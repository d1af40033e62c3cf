//! Payments: a capture for one reservation, and what was given back of it.

use serde::{Deserialize, Serialize};

use super::money::{Money, MoneyError};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// A provider has not answered yet.
    Pending,
    /// Captured; perhaps refunded in part.
    Succeeded,
    Declined,
    /// A provider has not confirmed the refund yet.
    Refunding,
    /// All of it was given back.
    Refunded,
}

impl PaymentState {
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Succeeded,
        Self::Declined,
        Self::Refunding,
        Self::Refunded,
    ];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub id: ResourceId,
    pub reservation: ResourceId,
    pub user: UserId,
    pub amount: Money,
    /// Sum of all refunds; never more than `amount`.
    pub refunded: Money,
    pub state: PaymentState,
    pub created_at: UnixMs,
}

impl Payment {
    /// What can still be given back.
    #[must_use]
    pub fn refundable(&self) -> Money {
        let captured = match self.state {
            PaymentState::Succeeded | PaymentState::Refunding => self.amount.amount_minor,
            PaymentState::Pending | PaymentState::Declined | PaymentState::Refunded => {
                self.refunded.amount_minor
            }
        };
        Money::new(
            self.amount.currency,
            captured.saturating_sub(self.refunded.amount_minor),
        )
    }

    /// What a refund of `asked` (or of all that is left) gives back.
    ///
    /// # Errors
    /// Another currency; nothing, or more than is left.
    pub fn refund(&self, asked: Option<Money>) -> Result<Money, MoneyError> {
        let left = self.refundable();
        asked
            .unwrap_or(left)
            .in_currency(self.amount.currency)?
            .charge(left.amount_minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::currency::Currency;
    use proptest::prelude::*;

    fn money(amount_minor: i64) -> Money {
        Money::new(Currency::parse("EUR").unwrap(), amount_minor)
    }

    fn payment(state: PaymentState, amount: i64, refunded: i64) -> Payment {
        Payment {
            id: ResourceId::parse("pay").unwrap(),
            reservation: ResourceId::parse("r").unwrap(),
            user: UserId::parse("alice").unwrap(),
            amount: money(amount),
            refunded: money(refunded),
            state,
            created_at: UnixMs(0),
        }
    }

    #[test]
    fn only_what_was_captured_and_is_left_is_refunded() {
        let partly = payment(PaymentState::Succeeded, 100, 40);
        assert_eq!(partly.refund(None), Ok(money(60)));
        assert_eq!(partly.refund(Some(money(60))), Ok(money(60)));
        for bad in [61, 0, -1, i64::MIN, i64::MAX] {
            assert!(partly.refund(Some(money(bad))).is_err(), "{bad}");
        }
        for unpaid in [PaymentState::Pending, PaymentState::Declined] {
            assert!(payment(unpaid, 100, 0).refund(None).is_err());
        }
        assert!(
            payment(PaymentState::Refunded, 100, 100)
                .refund(None)
                .is_err()
        );
        let yen = Money::new(Currency::parse("JPY").unwrap(), 1);
        assert_eq!(
            partly.refund(Some(yen)),
            Err(MoneyError::CurrencyMismatch {
                expected: money(0).currency
            })
        );
    }

    proptest! {
        #[test]
        fn refunds_never_exceed_the_capture(amount in 1_i64..1_000, asks in prop::collection::vec(-10_i64..600, 0..10)) {
            let mut paid = payment(PaymentState::Succeeded, amount, 0);
            for ask in asks {
                if let Ok(given) = paid.refund(Some(money(ask))) {
                    paid.refunded = paid.refunded.plus(given).unwrap();
                }
                prop_assert!((0..=amount).contains(&paid.refunded.amount_minor));
            }
        }
    }
}
