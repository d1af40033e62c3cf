//! Money through a payment provider: what is recorded before it is asked, and
//! what becomes of its answers.
//!
//! Promises, held by `store::sales::conformance::intents`:
//! - An intent is committed before the provider hears of it, and nothing is
//!   locked while it decides.
//! - While an intent of a reservation is pending, no other key pays or gives
//!   back its hold: [`SalesError::PaymentInProgress`].
//! - The first outcome counts, whoever brings it and however often. Money that
//!   was taken ends as what it was for, or goes back whole: it buys the held
//!   seats; after the hold ended, the seats if they are still free; else it is
//!   given back. So is money that comes after its intent was declined.
//! - Money of another amount than was asked for buys nothing: it goes back.
//! - What goes back is owed from the commit on, until the provider has it done
//!   (`super::refunds`).
//! - An intent, and what it owes, are told to whoever asks for its provider's.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{AuditCheck, CompletedPass, Deposit, Once, SalesError, SeatsChanged};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::intent::{Intent, IntentState};
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::Payment;

/// To pay a hold. The first intent of a reservation makes the hold longer.
#[derive(Debug, Clone)]
pub struct BeginPayment {
    pub once: Once,
    /// Random, from the caller; used if the key is new.
    pub id: ResourceId,
    pub reservation: ResourceId,
    /// It is this payment's until that is decided.
    pub coupon: Option<ResourceId>,
    /// Who will be asked.
    pub provider: String,
    /// What the client got of the provider; it is not kept.
    pub token: String,
    /// How much longer.
    pub extend_ms: u64,
    /// When the provider is asked how it went, if nobody has said.
    pub look_after_ms: u64,
}

/// To fill a wallet; `deposit.id` is the intent's.
#[derive(Debug, Clone)]
pub struct BeginTopUp {
    pub deposit: Deposit,
    pub provider: String,
    pub token: String,
    /// For how long its buyer may be asked for something.
    pub open_ms: u64,
    pub look_after_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// As it is now.
    pub intent: Intent,
    /// Made by this command: the provider is still to be asked, by the caller.
    pub is_new: bool,
}

/// That a provider asks the buyer for something before it decides. It stays open
/// until its hold ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitBuyer {
    pub intent: ResourceId,
    pub provider_id: String,
    /// Where the buyer goes on.
    pub action_url: String,
}

/// Something that a provider told by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEvent {
    pub provider: String,
    pub id: String,
}

/// What a provider decided.
#[derive(Debug, Clone)]
pub struct Settle {
    pub intent: ResourceId,
    /// Never [`IntentState::Pending`].
    pub outcome: IntentState,
    /// What the provider calls the intent; `None` if it never heard of it.
    pub provider_id: Option<String>,
    /// What was taken, if it is another amount than was asked for.
    pub taken: Option<Money>,
    /// Set if it was told by an event: the same one is taken once.
    pub event: Option<GatewayEvent>,
    /// Largest balance after a top-up: one that brings more goes back.
    pub balance_max_minor: i64,
}

/// What the outcome did; all but the intent is `None` if it changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    pub intent: Intent,
    pub payment: Option<Payment>,
    pub changed: Option<SeatsChanged>,
    pub completed: Option<CompletedPass>,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedRefund {
    /// The same at every try.
    pub id: ResourceId,
    pub intent: ResourceId,
    pub provider_id: String,
    pub amount: Money,
    /// How often it was tried before.
    pub tries: u64,
}

/// What a provider still has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    pub intents: u64,
    pub refunds: u64,
    /// Refunds that nobody tries any more, whosever they are.
    pub refused: u64,
    /// What nobody asks about, since it is not this provider's.
    pub elsewhere: Vec<Elsewhere>,
}

impl Unsettled {
    /// What nobody will ever do by itself.
    #[must_use]
    pub fn check(&self) -> AuditCheck {
        let mut violations = Vec::new();
        for other in &self.elsewhere {
            let Elsewhere {
                provider,
                intents,
                refunds,
            } = other;
            let whose = provider.as_deref().unwrap_or("nobody knows which");
            violations.push(format!(
                "{intents} intents and {refunds} refunds are of a provider that is not configured: {whose}"
            ));
        }
        if self.refused > 0 {
            let refused = self.refused;
            violations.push(format!(
                "{refused} refunds are refused, and nobody tries them"
            ));
        }
        AuditCheck {
            id: "M9".to_owned(),
            statement: "what a payment provider has still to do is asked of it".to_owned(),
            violations,
        }
    }
}

/// What another provider has to do, or nobody knows which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    pub provider: Option<String>,
    pub intents: u64,
    pub refunds: u64,
}

#[async_trait]
pub trait Intents: Send + Sync + 'static {
    async fn begin_payment(&self, command: BeginPayment) -> Result<Begun, SalesError>;

    async fn begin_top_up(&self, command: BeginTopUp) -> Result<Begun, SalesError>;

    /// Nothing, if it was decided meanwhile.
    async fn await_buyer(&self, command: AwaitBuyer) -> Result<(), SalesError>;

    async fn settle(&self, command: Settle) -> Result<Settled, SalesError>;

    /// Declines what was never confirmed, and forgets the answer to the command
    /// that began it: it may be asked again by its key.
    async fn abandon(&self, command: Settle, begun_by: Once) -> Result<Settled, SalesError>;

    async fn intent(&self, id: ResourceId) -> Result<Intent, SalesError>;

    /// The entry of a top-up by an intent, once it is in the wallet; `None` if it
    /// is not, or not the user's.
    async fn top_up_entry(
        &self,
        user: UserId,
        intent: ResourceId,
    ) -> Result<Option<WalletEntry>, SalesError>;

    /// Up to `limit` pending intents about which this provider is to be asked.
    /// Each comes again after a pause that grows.
    async fn due_intents(&self, provider: &str, limit: u32) -> Result<Vec<Intent>, SalesError>;

    /// Up to `limit` refunds that are to be made, as [`Intents::due_intents`].
    async fn due_refunds(&self, provider: &str, limit: u32) -> Result<Vec<OwedRefund>, SalesError>;

    /// The provider has given it back.
    async fn refund_done(&self, refund: ResourceId) -> Result<(), SalesError>;

    /// `None`: there is no provider.
    async fn unsettled(&self, provider: Option<&str>) -> Result<Unsettled, SalesError>;
}
