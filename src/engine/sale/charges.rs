//! Money through a payment provider.
//!
//! 1. The intent is committed. From there on someone finds out how it went.
//! 2. The provider is asked, with nothing locked: told of the intent, then asked
//!    to confirm it. The caller waits for `answer_within` and hears PENDING.
//! 3. What it decided is committed, by whoever hears of it first: the task that
//!    asked, a webhook, or the resolver ([`resolve`]).
//!
//! A provider that asks the buyer for something leaves the intent open until its
//! hold ends ([`waiting`]). One that is busy is asked again at once, some times.
//! What was certainly not confirmed is over at once; where the provider is away,
//! its key is free again ([`caller`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::SaleEngine;
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::{Intent, IntentState};
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::gateway::{Charge, ChargeState, GatewayError, PaymentGateway};
use crate::metrics::{GATEWAY_MISMATCHED, Metrics};
use crate::store::sales::{
    BeginPayment, BeginTopUp, Begun, GatewayEvent, Once, SalesError, Settle, Settled,
};
use crate::truth::failpoint::Point;

mod caller;
mod resolve;
mod waiting;

use caller::Caller;
use resolve::is_about_us;

pub use resolve::{Heard, RESOLVE_INTERVAL_MS, UNSETTLED_INTERVAL_MS};

/// How often a provider that is busy is asked, and how often SQL.
const TRIES_MAX: u32 = 4;
/// After the first try; it doubles.
const TRY_PAUSE_MS: u64 = 150;

/// The provider, and how long it may take.
pub struct Gateway {
    pub provider: Arc<dyn PaymentGateway>,
    /// Takes no new payments.
    pub refunds_only: bool,
    /// Then a caller is told PENDING.
    pub answer_within: Duration,
    /// What the first attempt makes a hold longer by.
    pub time_limit_ms: u64,
    /// Longer than whoever asked may still be at it.
    pub look_after_ms: u64,
    /// Of payments at once.
    pub permits: Arc<Semaphore>,
    /// Payments that are under way: a stop does not wait for them first.
    pub charges: TaskTracker,
    pub metrics: Metrics,
}

/// A wallet that is being filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUp {
    /// `None` while the provider has not decided.
    pub entry: Option<WalletEntry>,
    /// Where the user goes on, if the provider asks them for something.
    pub action_url: Option<String>,
}

/// An intent that is new, and what the provider is asked with.
struct Attempt {
    intent: Intent,
    /// The command that began it.
    once: Once,
    token: String,
    caller: Caller,
}

/// The task that asks the provider, if it is this call that began.
type Asking = Option<(JoinHandle<()>, Caller)>;

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
    /// As `Intents::begin_payment`; [`SalesError::PaymentDeclined`];
    /// [`SalesError::ProviderAway`]; [`SalesError::Overloaded`] beyond
    /// `gateway.payments_max`.
    pub async fn pay_by_gateway(
        &self,
        once: Once,
        reservation: ResourceId,
        token: String,
        coupon: Option<ResourceId>,
    ) -> Result<Payment, SalesError> {
        let gateway = self.required_gateway()?;
        let permit = gateway.permit()?;
        let user = once.user.clone();
        let command = BeginPayment {
            once: once.clone(),
            id: self.fresh_id()?,
            reservation: reservation.clone(),
            coupon,
            provider: gateway.provider.provider().to_owned(),
            token: token.clone(),
            extend_ms: gateway.time_limit_ms,
            look_after_ms: gateway.look_after_ms,
        };
        let (sale, owner) = (self.clone(), user.clone());
        let begun = self.to_the_end(async move {
            let begun = match sale.store().begin_payment(command.clone()).await {
                Err(SalesError::PaymentInProgress)
                    if sale.give_up_waiting(&owner, &reservation).await? =>
                {
                    sale.store().begin_payment(command).await?
                }
                begun => begun?,
            };
            if begun.is_new {
                // Its seats are held for longer.
                let held = sale.store().reservation(owner, reservation).await;
                if let Ok(held) = held {
                    sale.seats_changed(held.performance);
                }
            }
            sale.ask(begun, once, token, permit).await
        });
        let (intent, asking) = begun.await?;
        self.wait_for(asking).await?;
        let payment = self.store().payment(user, intent.id).await?;
        match payment.state {
            PaymentState::Declined => Err(SalesError::PaymentDeclined),
            PaymentState::Pending
            | PaymentState::Succeeded
            | PaymentState::Refunding
            | PaymentState::Refunded => Ok(payment),
        }
    }

    /// # Errors
    /// As `Intents::begin_top_up`; [`SalesError::PaymentDeclined`], also if the
    /// wallet had no room for it in the end, and it went back;
    /// [`SalesError::ProviderAway`]; [`SalesError::Overloaded`] beyond
    /// `gateway.payments_max`.
    pub async fn top_up_by_gateway(
        &self,
        once: Once,
        amount: Money,
        token: String,
    ) -> Result<TopUp, SalesError> {
        let gateway = self.required_gateway()?;
        let permit = gateway.permit()?;
        let user = once.user.clone();
        let amount_max_minor = self.settings().top_up_minor_max;
        let deposit = self.deposit(
            once.clone(),
            user.clone(),
            amount,
            amount_max_minor,
            String::new(),
        )?;
        let command = BeginTopUp {
            deposit,
            provider: gateway.provider.provider().to_owned(),
            token: token.clone(),
            open_ms: gateway.time_limit_ms,
            look_after_ms: gateway.look_after_ms,
        };
        let sale = self.clone();
        let begun = self.to_the_end(async move {
            let begun = sale.store().begin_top_up(command).await?;
            sale.ask(begun, once, token, permit).await
        });
        let (intent, asking) = begun.await?;
        self.wait_for(asking).await?;
        let intent = self.store().intent(intent.id).await?;
        match intent.state {
            IntentState::Pending => Ok(TopUp {
                entry: None,
                action_url: intent.action_url,
            }),
            IntentState::Declined => Err(SalesError::PaymentDeclined),
            IntentState::Succeeded => {
                let entry = self.store().top_up_entry(user, intent.id).await?;
                Ok(TopUp {
                    entry: Some(entry.ok_or(SalesError::PaymentDeclined)?),
                    action_url: None,
                })
            }
        }
    }

    /// Begins to ask the provider, if nobody has.
    async fn ask(
        &self,
        begun: Begun,
        once: Once,
        token: String,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Intent, Asking), SalesError> {
        let Begun { intent, is_new } = begun;
        if !is_new {
            return Ok((intent, None));
        }
        self.0.failpoints.hit(Point::IntentRecorded).await?;
        let charges = &self.required_gateway()?.charges;
        let (sale, caller) = (self.clone(), Caller::default());
        let attempt = Attempt {
            intent: intent.clone(),
            once,
            token,
            caller: caller.clone(),
        };
        let asking = charges.spawn(async move {
            if let Err(error) = sale.charge(&attempt).await {
                let intent = &attempt.intent;
                tracing::warn!(intent.id = %intent.id, error = %error, "outcome of a payment not kept yet");
            }
            drop(permit);
        });
        Ok((intent, Some((asking, caller))))
    }

    /// Waits for a while; from then on its payment is told.
    async fn wait_for(&self, asking: Asking) -> Result<(), SalesError> {
        if let (Some((asking, caller)), Some(gateway)) = (asking, self.gateway()) {
            // It goes on by itself.
            let _ = timeout(gateway.answer_within, asking).await;
            if !caller.is_told() {
                return Err(SalesError::ProviderAway);
            }
        }
        Ok(())
    }

    async fn charge(&self, attempt: &Attempt) -> Result<(), SalesError> {
        let gateway = self.required_gateway()?;
        let provider = &gateway.provider;
        let Attempt { intent, token, .. } = attempt;
        let made = match self.ask_again(|| provider.create(intent)).await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment not begun");
                return match error {
                    GatewayError::Refused { status } if !is_about_us(status) => {
                        self.decline(intent, None).await
                    }
                    _ => self.give_up(attempt, None).await,
                };
            }
        };
        let id = made.provider_id.clone();
        if made.amount != intent.amount {
            self.tell_mismatch(intent, &made);
            return match provider.cancel(&intent.id, &id).await {
                Ok(ended) => self.take(intent, ended, None).await.map(drop),
                Err(_) => self.decline(intent, Some(id)).await,
            };
        }
        let confirmed = self.ask_again(|| provider.confirm(&intent.id, &id, token));
        let stands = match confirmed.await {
            Ok(charge) if charge.state == ChargeState::Open && charge.amount == intent.amount => {
                match charge.action_url {
                    Some(url) => return self.await_buyer(intent, id, url).await,
                    None => provider.cancel(&intent.id, &id).await,
                }
            }
            Ok(charge) if charge.state == ChargeState::Open => {
                self.tell_mismatch(intent, &charge);
                provider.cancel(&intent.id, &id).await
            }
            // Nobody else has the token.
            Err(GatewayError::NotSent) => return self.give_up(attempt, Some(id)).await,
            Err(error @ (GatewayError::Refused { .. } | GatewayError::Busy { .. })) => {
                tracing::info!(intent.id = %intent.id, error = %error, "payment not confirmed");
                provider.cancel(&intent.id, &id).await
            }
            answer => answer,
        };
        match stands {
            Ok(charge) => self.take(intent, charge, None).await.map(drop),
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment not decided yet");
                Ok(())
            }
        }
    }

    /// Asks until the provider is not busy, as often as makes sense. What was
    /// sent once and then kept back is [`GatewayError::Unavailable`].
    async fn ask_again<F>(&self, call: impl Fn() -> F) -> Result<Charge, GatewayError>
    where
        F: Future<Output = Result<Charge, GatewayError>>,
    {
        let mut tried = 1;
        loop {
            match call().await {
                Err(GatewayError::Busy { .. }) if tried < TRIES_MAX => {
                    sleep(self.pause(tried)).await;
                    tried += 1;
                }
                Err(GatewayError::NotSent) if tried > 1 => {
                    return Err(GatewayError::Unavailable("it was busy".to_owned()));
                }
                answer => return answer,
            }
        }
    }

    /// Doubles, and is different for those that met.
    fn pause(&self, tried: u32) -> Duration {
        let pause = Duration::from_millis(TRY_PAUSE_MS << tried.min(8));
        pause.mul_f64(0.5 + self.0.entropy.fraction())
    }

    /// What nobody has confirmed: whatever the provider made of it, it never
    /// takes money.
    async fn decline(
        &self,
        intent: &Intent,
        provider_id: Option<String>,
    ) -> Result<(), SalesError> {
        let settle = self.settling(intent, IntentState::Declined, provider_id);
        self.settle(settle).await.map(drop)
    }

    /// The provider is away, and nothing was or will be charged: its buyer may ask
    /// the same again, unless they have heard of this payment.
    async fn give_up(
        &self,
        attempt: &Attempt,
        provider_id: Option<String>,
    ) -> Result<(), SalesError> {
        if !attempt.caller.is_refused() {
            return self.decline(&attempt.intent, provider_id).await;
        }
        let settle = self.settling(&attempt.intent, IntentState::Declined, provider_id);
        let abandoned = self.store().abandon(settle, attempt.once.clone());
        abandoned.await.map(drop)
    }

    /// Keeps what the provider says, if it decides anything; answers where the
    /// intent stands.
    async fn take(
        &self,
        intent: &Intent,
        charge: Charge,
        event: Option<GatewayEvent>,
    ) -> Result<IntentState, SalesError> {
        let outcome = charge.state.outcome();
        let differs = charge.amount != intent.amount;
        if outcome == IntentState::Pending {
            return Ok(outcome);
        }
        let taken = (differs && outcome == IntentState::Succeeded).then_some(charge.amount);
        if taken.is_some() {
            self.tell_mismatch(intent, &charge);
        }
        let settle = Settle {
            taken,
            event,
            ..self.settling(intent, outcome, Some(charge.provider_id))
        };
        let settled = self.settle(settle).await?;
        let stands = settled.intent.state;
        if outcome == IntentState::Declined && stands == IntentState::Succeeded {
            tracing::error!(intent.id = %intent.id, "declined by the provider after it succeeded");
        }
        Ok(stands)
    }

    fn settling(
        &self,
        intent: &Intent,
        outcome: IntentState,
        provider_id: Option<String>,
    ) -> Settle {
        Settle {
            intent: intent.id.clone(),
            outcome,
            provider_id,
            taken: None,
            event: None,
            balance_max_minor: self.settings().balance_minor_max,
        }
    }

    async fn settle(&self, command: Settle) -> Result<Settled, SalesError> {
        self.0.failpoints.hit(Point::ChargeAnswered).await?;
        let mut tried = 1;
        let settled = loop {
            match self.store().settle(command.clone()).await {
                // Others want the same rows; the buyer waits.
                Err(SalesError::Overloaded) if tried < TRIES_MAX => {
                    sleep(self.pause(tried)).await;
                    tried += 1;
                }
                settled => break settled?,
            }
        };
        if let Some(changed) = settled.changed.clone() {
            self.tell(changed, settled.completed.clone());
        }
        Ok(settled)
    }

    /// Someone has to look at the provider, or at what stands before it.
    fn tell_mismatch(&self, intent: &Intent, charge: &Charge) {
        let (asked, seen) = (intent.amount, charge.amount);
        tracing::error!(
            intent.id = %intent.id,
            asked.amount_minor = asked.amount_minor,
            asked.currency = %asked.currency,
            seen.amount_minor = seen.amount_minor,
            seen.currency = %seen.currency,
            "the provider has another amount than was asked for"
        );
        if let Some(gateway) = self.gateway() {
            gateway
                .metrics
                .counter(&GATEWAY_MISMATCHED, &[])
                .increment(1);
        }
    }

    /// Gives payments that are under way some time, when a node stops. What is
    /// cut is found out about by the resolver of the next life.
    pub async fn finish_charges(&self, until: Instant) {
        let Some(gateway) = self.gateway() else {
            return;
        };
        gateway.charges.close();
        let over = tokio::time::timeout_at(until, gateway.charges.wait()).await;
        if over.is_err() {
            let left = gateway.charges.len();
            tracing::warn!(
                payments = left,
                "the payment provider did not answer in time"
            );
        }
    }
}

impl Gateway {
    fn permit(&self) -> Result<OwnedSemaphorePermit, SalesError> {
        let permits = Arc::clone(&self.permits);
        permits
            .try_acquire_owned()
            .map_err(|_| SalesError::Overloaded)
    }
}
