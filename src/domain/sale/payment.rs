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

/// Where the money comes from, and goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    #[default]
    Wallet,
    /// A provider.
    Gateway,
}

impl PaymentMethod {
    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Gateway => "gateway",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let methods = [Self::Wallet, Self::Gateway];
        methods.into_iter().find(|method| method.as_str() == name)
    }
}

/// A coupon that a payment used, and what it took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponUse {
    pub coupon: ResourceId,
    pub discount: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub id: ResourceId,
    pub reservation: ResourceId,
    pub user: UserId,
    /// Answers that were kept before there were gateways do not say.
    #[serde(default)]
    pub method: PaymentMethod,
    /// What was paid: 0 where a coupon took off all of it.
    pub amount: Money,
    #[serde(default)]
    pub coupon: Option<CouponUse>,
    /// Sum of all refunds; never more than `amount`.
    pub refunded: Money,
    pub state: PaymentState,
    /// Where its buyer goes on, if a provider asks them for something.
    #[serde(default)]
    pub action_url: Option<String>,
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

    /// What was paid for seats of `cost`, when all that it still pays for costs
    /// `total`. Goodwill given before made each of them cheaper by its share, so
    /// nothing is given back twice, and something is kept for those that stay.
    #[must_use]
    pub fn share(&self, cost: Money, total: Money) -> Money {
        let left = self.refundable().amount_minor;
        let (cost, total) = (cost.amount_minor, total.amount_minor);
        let share = i128::from(left) * i128::from(cost) / i128::from(total.max(1));
        let share = i64::try_from(share).unwrap_or(left);
        Money::new(self.amount.currency, share.clamp(0, left))
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
            method: PaymentMethod::Wallet,
            amount: money(amount),
            coupon: None,
            refunded: money(refunded),
            state,
            action_url: None,
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

    #[test]
    fn a_part_gives_back_what_was_paid_for_it() {
        let paid = |refunded| payment(PaymentState::Succeeded, 300, refunded);
        assert_eq!(paid(0).share(money(100), money(300)), money(100));
        assert_eq!(paid(150).share(money(100), money(300)), money(50));
        assert_eq!(paid(299).share(money(299), money(300)), money(0));
    }

    proptest! {
        #[test]
        fn parts_and_goodwill_never_give_back_more_than_was_kept(
            prices in prop::collection::vec(1_i64..1_000, 1..8),
            goodwill in prop::collection::vec(0_i64..1_500, 8),
            off in 0_i64..3_000,
        ) {
            let mut total: i64 = prices.iter().sum();
            // What a coupon left to pay.
            let amount = (total - off).max(1);
            let mut paid = payment(PaymentState::Succeeded, amount, 0);
            for (price, goodwill) in prices.iter().zip(goodwill) {
                if goodwill < paid.refundable().amount_minor {
                    paid.refunded = paid.refunded.plus(money(goodwill)).unwrap();
                }
                let share = paid.share(money(*price), money(total));
                prop_assert!(share.amount_minor <= *price);
                paid.refunded = paid.refunded.plus(share).unwrap();
                total -= price;
                let kept = paid.refundable().amount_minor;
                prop_assert!(kept <= total, "{kept} for seats of {total}");
                prop_assert_eq!(kept == 0, total == 0);
            }
        }

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
