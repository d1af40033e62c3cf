//! Refunds that a provider owes, and the ways out for those that it does not
//! make: held by `store::sales::conformance::refunds`.
//!
//! PENDING → DONE, once the provider has it done. PENDING → REFUSED, when it will
//! not, or an operator stops asking; from there an operator has it tried again,
//! or closes it: as paid in another way, or into the buyer's wallet. Whichever
//! comes first counts, so no money goes back twice.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::SalesError;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;

/// A call that was under way when an operator stopped it is over by then.
pub const STOP_RESTS_MS: u64 = 120_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    Pending,
    /// Nobody asks for it any more.
    Refused,
    Done,
}

impl RefundState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Refused, Self::Done];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Done => "done",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A refund that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRefund {
    pub id: ResourceId,
    pub intent: ResourceId,
    pub user: UserId,
    pub provider: Option<String>,
    pub amount: Money,
    pub state: RefundState,
    pub tries: u64,
    pub created_at: UnixMs,
}

/// How money went back that the provider did not give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Into the buyer's wallet, with this command.
    Wallet,
    /// In a way of which Usher knows nothing.
    ByHand,
}

#[async_trait]
pub trait Refunds: Send + Sync + 'static {
    /// Up to `limit`, the oldest first.
    async fn open_refunds(&self, limit: u32) -> Result<Vec<OpenRefund>, SalesError>;

    /// The provider will not make it. Nothing, if it is not pending.
    async fn refund_refused(&self, refund: ResourceId) -> Result<(), SalesError>;

    /// Has a refused one tried again; whether it was.
    async fn retry_refund(&self, refund: ResourceId) -> Result<bool, SalesError>;

    /// Has a pending one not tried any more; whether it was pending. It can be
    /// closed [`STOP_RESTS_MS`] later.
    async fn stop_refund(&self, refund: ResourceId) -> Result<bool, SalesError>;

    /// Ends a refused one; `false` if it is not refused, or rests.
    async fn close_refund(&self, refund: ResourceId, instead: Instead) -> Result<bool, SalesError>;

    /// Gives to a provider all intents and refunds that are nobody's; answers
    /// how many.
    async fn adopt(&self, provider: String) -> Result<u64, SalesError>;
}
