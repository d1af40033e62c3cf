//! Amounts: integers of a currency's minor unit, checked at every step.

use serde::{Deserialize, Serialize};

use super::currency::Currency;

/// Largest amount of one command, price or total, in minor units.
///
/// A million of them still fit an `i64`, so a ledger account overflows only
/// after far more postings than a database holds; sums are checked anyway.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;

/// Money of one currency. May be negative (a posting) or zero (a balance);
/// what a command names is checked by [`Money::charge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub currency: Currency,
    pub amount_minor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("amount must be between 1 and {max_minor} minor units")]
    OutOfRange { max_minor: i64 },
    #[error("amount must be in {expected}")]
    CurrencyMismatch { expected: Currency },
}

impl Money {
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::new(currency, 0)
    }

    #[must_use]
    pub fn new(currency: Currency, amount_minor: i64) -> Self {
        Self {
            currency,
            amount_minor,
        }
    }

    /// An amount that a command may move: 1 … `max_minor`.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] for anything else, negative ones too.
    pub fn charge(self, max_minor: i64) -> Result<Self, MoneyError> {
        let max_minor = max_minor.min(AMOUNT_MINOR_MAX);
        if (1..=max_minor).contains(&self.amount_minor) {
            Ok(self)
        } else {
            Err(MoneyError::OutOfRange { max_minor })
        }
    }

    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] if it is another currency.
    pub fn in_currency(self, expected: Currency) -> Result<Self, MoneyError> {
        if self.currency == expected {
            Ok(self)
        } else {
            Err(MoneyError::CurrencyMismatch { expected })
        }
    }

    /// # Errors
    /// Another currency, or a sum that an `i64` cannot hold.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        let other = other.in_currency(self.currency)?;
        self.amount_minor
            .checked_add(other.amount_minor)
            .map(|amount_minor| Self::new(self.currency, amount_minor))
            .ok_or(MoneyError::OutOfRange {
                max_minor: AMOUNT_MINOR_MAX,
            })
    }

    /// # Errors
    /// Another currency, or a difference that an `i64` cannot hold.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.plus(other.negated()?)
    }

    /// # Errors
    /// [`MoneyError::OutOfRange`] for `i64::MIN`, which has no negative.
    pub fn negated(self) -> Result<Self, MoneyError> {
        self.amount_minor
            .checked_neg()
            .map(|amount_minor| Self::new(self.currency, amount_minor))
            .ok_or(MoneyError::OutOfRange {
                max_minor: AMOUNT_MINOR_MAX,
            })
    }

    /// The total of prices of one currency; at most [`AMOUNT_MINOR_MAX`].
    ///
    /// # Errors
    /// A price of another currency, or a total that is too large.
    pub fn total(currency: Currency, prices: &[Self]) -> Result<Self, MoneyError> {
        let sum = prices
            .iter()
            .try_fold(Self::zero(currency), |sum, price| sum.plus(*price))?;
        if sum.amount_minor > AMOUNT_MINOR_MAX {
            return Err(MoneyError::OutOfRange {
                max_minor: AMOUNT_MINOR_MAX,
            });
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn krw(amount_minor: i64) -> Money {
        Money::new(Currency::parse("KRW").unwrap(), amount_minor)
    }

    fn kwd(amount_minor: i64) -> Money {
        Money::new(Currency::parse("KWD").unwrap(), amount_minor)
    }

    #[test]
    fn a_charge_is_between_one_and_the_cap() {
        for bad in [i64::MIN, -1, 0, 1_001, i64::MAX] {
            assert_eq!(
                krw(bad).charge(1_000),
                Err(MoneyError::OutOfRange { max_minor: 1_000 }),
                "{bad}"
            );
        }
        assert_eq!(krw(1).charge(1_000), Ok(krw(1)));
        assert_eq!(krw(1_000).charge(1_000), Ok(krw(1_000)));
        assert!(krw(AMOUNT_MINOR_MAX + 1).charge(i64::MAX).is_err());
    }

    #[test]
    fn a_total_over_many_lines_never_wraps() {
        let lines = vec![krw(AMOUNT_MINOR_MAX); 10];
        assert!(Money::total(krw(0).currency, &lines).is_err());
        assert!(Money::total(krw(0).currency, &[krw(i64::MAX), krw(1)]).is_err());
        assert_eq!(Money::total(krw(0).currency, &[krw(2), krw(3)]), Ok(krw(5)));
    }

    #[test]
    fn i64_min_has_no_negative() {
        assert!(krw(i64::MIN).negated().is_err());
        assert!(krw(0).minus(krw(i64::MIN)).is_err());
    }

    proptest! {
        #[test]
        fn sums_are_exact_or_refused(a: i64, b: i64) {
            let exact = i128::from(a) + i128::from(b);
            match krw(a).plus(krw(b)) {
                Ok(sum) => prop_assert_eq!(i128::from(sum.amount_minor), exact),
                Err(_) => prop_assert!(i64::try_from(exact).is_err()),
            }
        }

        #[test]
        fn subtraction_undoes_addition(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            prop_assert_eq!(krw(a).plus(krw(b)).and_then(|sum| sum.minus(krw(b))), Ok(krw(a)));
        }

        #[test]
        fn currencies_never_mix(a: i64, b: i64) {
            prop_assert_eq!(
                krw(a).plus(kwd(b)),
                Err(MoneyError::CurrencyMismatch { expected: krw(0).currency })
            );
        }

        #[test]
        fn a_total_is_the_exact_sum_or_refused(prices in prop::collection::vec(1..=AMOUNT_MINOR_MAX, 0..20)) {
            let lines: Vec<Money> = prices.iter().map(|p| krw(*p)).collect();
            let exact: i128 = prices.iter().map(|p| i128::from(*p)).sum();
            match Money::total(krw(0).currency, &lines) {
                Ok(total) => prop_assert_eq!(i128::from(total.amount_minor), exact),
                Err(_) => prop_assert!(exact > i128::from(AMOUNT_MINOR_MAX)),
            }
        }
    }
}
