//! Intents: attempts to take money through a payment provider.
//!
//! PENDING → SUCCEEDED | DECLINED, by what the provider says. Money that it took
//! all the same after it was given up for declined moves DECLINED → SUCCEEDED,
//! and goes back. Money of another amount than was asked for leaves it DECLINED,
//! and goes back too ([`Intent::taken`]).

use serde::{Deserialize, Serialize};

use super::money::Money;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// The provider has not decided, or has not been heard.
    Pending,
    /// It took the money.
    Succeeded,
    /// It took nothing, and never will.
    Declined,
}

impl IntentState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Succeeded, Self::Declined];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What the money is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentPurpose {
    /// A reservation; the payment has the intent's id.
    Payment,
    /// A wallet; the entry will have the intent's id.
    TopUp,
}

impl IntentPurpose {
    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::TopUp => "top_up",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Payment, Self::TopUp];
        all.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: ResourceId,
    pub user: UserId,
    pub purpose: IntentPurpose,
    pub state: IntentState,
    pub amount: Money,
    /// Who takes it; `None`: it was made when that was not written down.
    #[serde(default)]
    pub provider: Option<String>,
    /// What the provider calls it, once that was needed.
    pub provider_id: Option<String>,
    /// What was taken, if it is not `amount`: it buys nothing.
    #[serde(default)]
    pub taken: Option<Money>,
    /// Where its buyer goes on; only while it is pending, and there is time.
    #[serde(default)]
    pub action_url: Option<String>,
    pub created_at: UnixMs,
}
