//! Money through a payment provider.
//!
//! 1. The intent is committed. From there on someone finds out how it went.
//! 2. The provider is asked, with nothing locked: told of the intent, then asked
//!    to confirm it. The caller waits for `answer_within` and hears PENDING.
//! 3. What it decided is committed, by whoever hears of it first: the task that
//!    asked, a webhook, or [`SaleEngine::resolve`].
//!
//! The resolver asks about what nobody has told: an intent that was never
//! confirmed is cancelled at the provider, and only then declined. It makes what
//! is owed back, again and again until it is done. Its work is in SQL, so that a
//! crash at any point leaves it to the next life, or to another node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::SaleEngine;
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::{Intent, IntentState};
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::gateway::webhook::Told;
use crate::gateway::{ChargeState, GatewayError, PaymentGateway};
use crate::metrics::{GATEWAY_UNSETTLED, Metrics};
use crate::store::sales::{
    BeginPayment, BeginTopUp, Begun, GatewayEvent, Once, OwedRefund, SalesError, Settle,
};
use crate::truth::failpoint::Point;

/// How often to resolve.
pub const RESOLVE_INTERVAL_MS: u64 = 500;
/// Intents, and refunds, that are asked about at once.
const RESOLVED_PER_STEP: u32 = 16;

/// The provider, and how long it may take.
pub struct Gateway {
    pub provider: Arc<dyn PaymentGateway>,
    /// Then a caller is told PENDING.
    pub answer_within: Duration,
    /// What the first attempt makes a hold longer by.
    pub time_limit_ms: u64,
    /// Longer than whoever asked may still be at it.
    pub look_after_ms: u64,
    pub metrics: Metrics,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Taken, now or before.
    Taken,
    /// It is about no intent of ours.
    Unknown,
    /// It is about another amount than was asked for.
    Mismatch,
}

impl SaleEngine {
    /// `None` where no provider is configured.
    #[must_use]
    pub fn gateway(&self) -> Option<&Gateway> {
        self.0.gateway.as_ref()
    }

    fn required_gateway(&self) -> Result<&Gateway, SalesError> {
        let missing = || SalesError::Unavailable("no payment gateway".to_owned());
        self.gateway().ok_or_else(missing)
    }

    /// # Errors
    /// As `Intents::begin_payment`; [`SalesError::PaymentDeclined`].
    pub async fn pay_by_gateway(
        &self,
        once: Once,
        reservation: ResourceId,
        token: String,
    ) -> Result<Payment, SalesError> {
        let gateway = self.required_gateway()?;
        let user = once.user.clone();
        let command = BeginPayment {
            once,
            id: self.fresh_id()?,
            reservation,
            token: token.clone(),
            extend_ms: gateway.time_limit_ms,
            look_after_ms: gateway.look_after_ms,
        };
        let sale = self.clone();
        let begun = self.to_the_end(async move {
            let begun = sale.store().begin_payment(command).await?;
            sale.ask(begun, token).await
        });
        let (intent, asking) = begun.await?;
        self.wait_for(asking).await;
        let payment = self.store().payment(user, intent.id).await?;
        match payment.state {
            PaymentState::Declined => Err(SalesError::PaymentDeclined),
            PaymentState::Pending
            | PaymentState::Succeeded
            | PaymentState::Refunding
            | PaymentState::Refunded => Ok(payment),
        }
    }

    /// `None` while the provider has not decided.
    ///
    /// # Errors
    /// As `Intents::begin_top_up`; [`SalesError::PaymentDeclined`], also if the
    /// wallet had no room for it in the end, and it went back.
    pub async fn top_up_by_gateway(
        &self,
        once: Once,
        amount: Money,
        token: String,
    ) -> Result<Option<WalletEntry>, SalesError> {
        let gateway = self.required_gateway()?;
        let (user, look_after_ms) = (once.user.clone(), gateway.look_after_ms);
        let amount_max_minor = self.settings().top_up_minor_max;
        let deposit = self.deposit(once, user.clone(), amount, amount_max_minor, String::new())?;
        let command = BeginTopUp {
            deposit,
            token: token.clone(),
            look_after_ms,
        };
        let sale = self.clone();
        let begun = self.to_the_end(async move {
            let begun = sale.store().begin_top_up(command).await?;
            sale.ask(begun, token).await
        });
        let (intent, asking) = begun.await?;
        self.wait_for(asking).await;
        let intent = self.store().intent(intent.id).await?;
        match intent.state {
            IntentState::Pending => Ok(None),
            IntentState::Declined => Err(SalesError::PaymentDeclined),
            IntentState::Succeeded => {
                let entry = self.store().top_up_entry(user, intent.id).await?;
                entry.ok_or(SalesError::PaymentDeclined).map(Some)
            }
        }
    }

    /// Begins to ask the provider, if nobody has.
    async fn ask(
        &self,
        begun: Begun,
        token: String,
    ) -> Result<(Intent, Option<JoinHandle<()>>), SalesError> {
        let Begun { intent, is_new } = begun;
        if !is_new {
            return Ok((intent, None));
        }
        self.0.failpoints.hit(Point::IntentRecorded).await?;
        let (sale, asked) = (self.clone(), intent.clone());
        let asking = self.0.tasks.spawn(async move {
            if let Err(error) = sale.charge(&asked, &token).await {
                tracing::warn!(intent.id = %asked.id, error = %error, "outcome of a payment not kept yet");
            }
        });
        Ok((intent, Some(asking)))
    }

    async fn wait_for(&self, asking: Option<JoinHandle<()>>) {
        if let (Some(asking), Some(gateway)) = (asking, self.gateway()) {
            // It goes on by itself.
            let _ = timeout(gateway.answer_within, asking).await;
        }
    }

    async fn charge(&self, intent: &Intent, token: &str) -> Result<(), SalesError> {
        let provider = &self.required_gateway()?.provider;
        let provider_id = match provider.create(intent).await {
            Ok(provider_id) => provider_id,
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment not begun");
                // Whatever it made of it, nobody has confirmed that.
                return self.settle(intent, IntentState::Declined, None, None).await;
            }
        };
        let state = match provider.confirm(&intent.id, &provider_id, token).await {
            Err(GatewayError::Refused { status }) => {
                tracing::info!(intent.id = %intent.id, status, "payment not confirmed");
                provider.cancel(&provider_id).await
            }
            answer => answer,
        };
        match state {
            Ok(state) => {
                self.settle(intent, state.outcome(), Some(provider_id), None)
                    .await
            }
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment not decided yet");
                Ok(())
            }
        }
    }

    /// Keeps what was decided; pending is nothing.
    async fn settle(
        &self,
        intent: &Intent,
        outcome: IntentState,
        provider_id: Option<String>,
        event: Option<GatewayEvent>,
    ) -> Result<(), SalesError> {
        if outcome == IntentState::Pending {
            return Ok(());
        }
        self.0.failpoints.hit(Point::ChargeAnswered).await?;
        let command = Settle {
            intent: intent.id.clone(),
            outcome,
            provider_id,
            event,
            balance_max_minor: self.settings().balance_minor_max,
        };
        let settled = self.store().settle(command).await?;
        if settled.intent.state != outcome {
            tracing::error!(intent.id = %intent.id, "declined by the provider after it succeeded");
        }
        if let Some(changed) = settled.changed {
            self.tell(changed, settled.completed);
        }
        Ok(())
    }

    /// What the provider told by itself; it was signed.
    ///
    /// # Errors
    /// [`SalesError::Unavailable`]: to be told again.
    pub async fn hear(&self, told: Told) -> Result<Heard, SalesError> {
        let gateway = self.required_gateway()?;
        let intent = match self.store().intent(told.intent).await {
            Err(SalesError::NotFound) => return Ok(Heard::Unknown),
            intent => intent?,
        };
        if intent.amount != told.amount {
            tracing::error!(intent.id = %intent.id, "the provider tells of another amount");
            return Ok(Heard::Mismatch);
        }
        let event = GatewayEvent {
            provider: gateway.provider.provider().to_owned(),
            id: told.event_id,
        };
        let sale = self.clone();
        self.to_the_end(async move {
            let (outcome, id) = (told.outcome, Some(told.provider_id));
            sale.settle(&intent, outcome, id, Some(event)).await
        })
        .await?;
        Ok(Heard::Taken)
    }

    /// Finds out about what nobody has told, and makes refunds that are owed.
    /// The app's ticker calls it every [`RESOLVE_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`SalesError::Unavailable`] while SQL is; the next one goes on.
    pub async fn resolve(&self) -> Result<(), SalesError> {
        let Some(gateway) = self.gateway() else {
            return Ok(());
        };
        let intents = self.store().due_intents(RESOLVED_PER_STEP).await?;
        join_all(intents.iter().map(|intent| self.find_out(intent))).await;
        let refunds = self.store().due_refunds(RESOLVED_PER_STEP).await?;
        join_all(refunds.iter().map(|refund| self.give_back(refund))).await;
        let unsettled = self.store().unsettled().await?;
        for (what, count) in [
            ("intents", unsettled.intents),
            ("refunds", unsettled.refunds),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a metric")]
            gateway
                .metrics
                .gauge(&GATEWAY_UNSETTLED, &[what])
                .set(count as f64);
        }
        Ok(())
    }

    async fn find_out(&self, intent: &Intent) {
        let found = match self.standing(intent).await {
            Ok((state, provider_id)) => {
                self.settle(intent, state.outcome(), Some(provider_id), None)
                    .await
            }
            Err(error) => Err(SalesError::Unavailable(error.to_string())),
        };
        if let Err(error) = found {
            tracing::warn!(intent.id = %intent.id, error = %error, "payment still not decided");
        }
    }

    /// Where it stands; from now on nobody confirms it who has not yet.
    async fn standing(&self, intent: &Intent) -> Result<(ChargeState, String), GatewayError> {
        let missing = || GatewayError::Unavailable("none".to_owned());
        let provider = &self.gateway().ok_or_else(missing)?.provider;
        // It may never have heard of it.
        let provider_id = provider.create(intent).await?;
        let state = match provider.look(&provider_id).await? {
            ChargeState::Open => provider.cancel(&provider_id).await?,
            state => state,
        };
        Ok((state, provider_id))
    }

    async fn give_back(&self, refund: &OwedRefund) {
        if let Err(error) = self.try_give_back(refund).await {
            tracing::warn!(refund.id = %refund.id, error = %error, "money not given back yet");
        }
    }

    async fn try_give_back(&self, refund: &OwedRefund) -> Result<(), SalesError> {
        let provider = &self.required_gateway()?.provider;
        let unavailable = |error: GatewayError| SalesError::Unavailable(error.to_string());
        let is_done = provider.refund(refund).await.map_err(unavailable)?;
        if is_done {
            self.0.failpoints.hit(Point::RefundAnswered).await?;
            self.store().refund_done(refund.id.clone()).await?;
        }
        Ok(())
    }
}
