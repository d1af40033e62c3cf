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
//!
//! [`http`] speaks to a server (`docs/operations/payments.md`); [`webhook`] reads
//! what such a server tells by itself.

use async_trait::async_trait;

use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::{Intent, IntentState};
use crate::store::sales::OwedRefund;

pub mod http;
pub mod webhook;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No answer in time, or none that can be read: it may have happened.
    #[error("the payment provider cannot be reached: {0}")]
    Unavailable(String),
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

#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// As events name it.
    fn provider(&self) -> &str;

    /// Makes the intent known; answers what the provider calls it.
    async fn create(&self, intent: &Intent) -> Result<String, GatewayError>;

    /// Takes the money from whom the token stands for. [`ChargeState::Processing`]
    /// if that takes long.
    async fn confirm(
        &self,
        intent: &ResourceId,
        provider_id: &str,
        token: &str,
    ) -> Result<ChargeState, GatewayError>;

    async fn look(&self, provider_id: &str) -> Result<ChargeState, GatewayError>;

    /// Ends an intent that is open. One that is being decided, or is, is answered
    /// as it stands.
    async fn cancel(&self, provider_id: &str) -> Result<ChargeState, GatewayError>;

    /// Whether the money is given back; else it is on its way.
    async fn refund(&self, refund: &OwedRefund) -> Result<bool, GatewayError>;
}
