//! The seam to a payment provider: it takes money for an intent, and gives back.
//!
//! Promises of every implementation:
//! - A call is one attempt within its own time limit. After
//!   [`GatewayError::Unavailable`] it may have happened: whoever asked looks
//!   again, or asks again, which has no second effect.
//! - An intent is known to the provider by our id, a refund by its own:
//!   whichever is asked for twice is made once.
//! - Money is taken between [`PaymentGateway::confirm`] and its end only. What
//!   [`PaymentGateway::cancel`] has declined never takes money.
//! - An answer is about what was asked for: ids are compared. Its amount is told
//!   as the provider has it, and is for who asked to compare.
//!
//! [`http`] speaks to a server (`docs/operations/payments.md`); [`memory`] plays
//! one in this process; [`webhook`] reads what a server tells by itself.

use async_trait::async_trait;

use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::{Intent, IntentState};
use crate::domain::sale::money::Money;
use crate::store::sales::OwedRefund;

#[cfg(test)]
mod conformance;
pub mod http;
pub mod memory;
pub mod webhook;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No answer in time, or none that can be read: it may have happened.
    #[error("the payment provider cannot be reached: {0}")]
    Unavailable(String),
    /// It was not asked: it failed just now, time and again.
    #[error("the payment provider is away")]
    NotSent,
    /// It is there, and says to ask again.
    #[error("the payment provider is busy: {status}")]
    Busy { status: u16 },
    /// The provider will not do this, however often it is asked.
    #[error("the payment provider refused with {status}")]
    Refused { status: u16 },
}

/// Where an intent stands at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeState {
    /// Nobody has confirmed it.
    Open,
    /// It is being decided.
    Processing,
    Succeeded,
    /// Or cancelled.
    Declined,
}

impl ChargeState {
    /// Pending, unless it is decided.
    #[must_use]
    pub fn outcome(self) -> IntentState {
        match self {
            Self::Open | Self::Processing => IntentState::Pending,
            Self::Succeeded => IntentState::Succeeded,
            Self::Declined => IntentState::Declined,
        }
    }
}

/// An intent, as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What the provider calls it.
    pub provider_id: String,
    pub state: ChargeState,
    /// What it takes, or took.
    pub amount: Money,
    /// While it is open: where its buyer goes on, if it asks them for something.
    pub action_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStanding {
    /// It was never asked for.
    Unknown,
    /// It is on its way.
    Pending,
    Succeeded,
    /// It did not come through; it may be asked for once more.
    Failed,
}

#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// As events name it.
    fn provider(&self) -> &str;

    /// Makes the intent known.
    async fn create(&self, intent: &Intent) -> Result<Charge, GatewayError>;

    /// Takes the money from whom the token stands for. [`ChargeState::Processing`]
    /// if that takes long; [`ChargeState::Open`] with an action if its buyer is
    /// asked for something first.
    async fn confirm(
        &self,
        intent: &ResourceId,
        provider_id: &str,
        token: &str,
    ) -> Result<Charge, GatewayError>;

    async fn look(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError>;

    /// Ends an intent that is open. One that is being decided, or is, is answered
    /// as it stands.
    async fn cancel(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError>;

    async fn refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError>;

    async fn look_refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError>;
}
