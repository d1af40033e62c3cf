//! The double-entry ledger: every entry moves money between accounts and sums
//! to zero, and nothing is ever changed or deleted.
//!
//! Money enters from `external:…` accounts, which go negative by what came in.
//! Only users' accounts are bounded: at zero.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::money::{Money, MoneyError};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A wallet.
    User(UserId),
    /// What came in by top-ups.
    TopUps,
    /// What operators gave.
    Credits,
    /// What came in, and went back, through a payment provider.
    Gateway,
    /// What a provider took, and goes back to it, since it bought nothing.
    Unplaced,
    /// What a performance earned.
    Revenue(ResourceId),
}

impl Account {
    /// Whether a posting may take it below zero.
    #[must_use]
    pub fn may_be_negative(&self) -> bool {
        !matches!(self, Self::User(_))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::TopUps => f.write_str("external:topup"),
            Self::Credits => f.write_str("external:credit"),
            Self::Gateway => f.write_str("external:gateway"),
            Self::Unplaced => f.write_str("unplaced"),
            Self::Revenue(performance) => write!(f, "revenue:{performance}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    TopUp,
    Credit,
    Payment,
    Refund,
}

impl EntryKind {
    pub const ALL: [Self; 4] = [Self::TopUp, Self::Credit, Self::Payment, Self::Refund];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Credit => "credit",
            Self::Payment => "payment",
            Self::Refund => "refund",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub account: Account,
    pub amount: Money,
}

/// What happened, in postings that sum to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: EntryKind,
    postings: [Posting; 2],
}

impl Entry {
    /// # Errors
    /// An amount that has no negative.
    pub fn transfer(
        kind: EntryKind,
        from: Account,
        to: Account,
        amount: Money,
    ) -> Result<Self, MoneyError> {
        let taken = Posting {
            account: from,
            amount: amount.negated()?,
        };
        let given = Posting {
            account: to,
            amount,
        };
        Ok(Self {
            kind,
            postings: [taken, given],
        })
    }

    #[must_use]
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    #[must_use]
    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }
}

/// One movement of a wallet, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletEntry {
    pub id: ResourceId,
    pub kind: EntryKind,
    /// Negative when it was taken.
    pub amount: Money,
    pub balance_after: Money,
    /// The reservation and payment, for PAYMENT and REFUND.
    pub reservation: Option<ResourceId>,
    pub payment: Option<ResourceId>,
    pub reason: String,
    pub created_at: UnixMs,
    /// Counts the postings of this wallet in this currency from 1.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::currency::Currency;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_sums_to_zero_or_cannot_be(amount: i64) {
            let amount = Money::new(Currency::parse("EUR").unwrap(), amount);
            let user = Account::User(UserId::parse("alice").unwrap());
            if let Ok(entry) = Entry::transfer(EntryKind::TopUp, Account::TopUps, user, amount) {
                let sum: i128 = entry.postings().iter().map(|p| i128::from(p.amount.amount_minor)).sum();
                prop_assert_eq!(sum, 0);
            } else {
                prop_assert_eq!(amount.amount_minor, i64::MIN);
            }
        }
    }

    #[test]
    fn only_a_wallet_is_bounded_at_zero() {
        assert!(!Account::User(UserId::parse("alice").unwrap()).may_be_negative());
        assert!(Account::TopUps.may_be_negative());
        assert!(Account::Revenue(ResourceId::parse("p").unwrap()).may_be_negative());
    }
}
