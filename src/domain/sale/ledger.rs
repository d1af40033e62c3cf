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

/// What the money of a provider is for. Each has accounts of its own, so that
/// payments wait for nobody but those that they wait for anyway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MoneyFor {
    Performance(ResourceId),
    Wallet(UserId),
}

impl fmt::Display for MoneyFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Performance(id) => write!(f, "performance:{id}"),
            Self::Wallet(id) => write!(f, "wallet:{id}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A wallet.
    User(UserId),
    /// What came in by top-ups.
    TopUps,
    /// What operators gave.
    Credits,
    /// What came in, and went back, through a payment provider.
    Gateway(MoneyFor),
    /// What a provider took, and goes back to it, since it bought nothing.
    Unplaced(MoneyFor),
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
            Self::Gateway(of) => write!(f, "external:gateway:{of}"),
            Self::Unplaced(of) => write!(f, "unplaced:{of}"),
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

    /// Payments for different things wait for no account that both post to.
    #[test]
    fn the_money_of_a_provider_is_kept_apart_by_what_it_is_for() {
        let id = |text| ResourceId::parse(text).unwrap();
        let of = [
            MoneyFor::Performance(id("a")),
            MoneyFor::Performance(id("b")),
            MoneyFor::Wallet(UserId::parse("a").unwrap()),
        ];
        let names = of.iter().flat_map(|of| {
            [Account::Gateway(of.clone()), Account::Unplaced(of.clone())].map(|it| it.to_string())
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        assert_eq!(names.len(), 6);
        let ours = |name: &&String| name.starts_with("external:gateway:");
        assert_eq!(names.iter().filter(ours).count(), 3);
    }

    #[test]
    fn only_a_wallet_is_bounded_at_zero() {
        assert!(!Account::User(UserId::parse("alice").unwrap()).may_be_negative());
        assert!(Account::TopUps.may_be_negative());
        assert!(Account::Revenue(ResourceId::parse("p").unwrap()).may_be_negative());
    }
}
