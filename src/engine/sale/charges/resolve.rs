//! Finding out about intents that nobody told of, making what is owed back, and
//! hearing what a provider tells by itself.
//!
//! The resolver asks about what nobody has told: an intent that was never
//! confirmed is cancelled at the provider, and only then declined; one that waits
//! for its buyer is left alone until its time is over. It makes what is owed
//! back: it looks first where it asked before, and goes on until it is done or
//! refused. Its work is in SQL, so that a crash at any point leaves it to the
//! next life, or to another node. It asks about its own provider's alone; what is
//! another's is counted, and told as an error.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::SaleEngine;
use crate::domain::sale::intent::{Intent, IntentState};
use crate::gateway::webhook::Told;
use crate::gateway::{Charge, ChargeState, GatewayError, RefundStanding};
use crate::metrics::GATEWAY_UNSETTLED;
use crate::store::sales::{Elsewhere, GatewayEvent, OwedRefund, SalesError, Settle};
use crate::truth::failpoint::Point;

/// How often to resolve.
pub const RESOLVE_INTERVAL_MS: u64 = 500;
/// How often to count what is not settled.
pub const UNSETTLED_INTERVAL_MS: u64 = 5_000;
/// Intents, and refunds, that are asked about at once.
const RESOLVED_PER_STEP: u32 = 16;
/// A refund that failed so often is not asked for again.
const FAILED_TRIES: u64 = 2;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Taken, now or before.
    Taken,
    /// It is about no intent of this provider's.
    Unknown,
    /// It is about another amount than was asked for: the provider is asked.
    Mismatch,
}

impl SaleEngine {
    /// What the provider told by itself; it was signed.
    ///
    /// # Errors
    /// [`SalesError::Unavailable`]: to be told again.
    pub async fn hear(&self, told: Told) -> Result<Heard, SalesError> {
        let provider = self.required_gateway()?.provider.provider();
        let intent = match self.store().intent(told.intent).await {
            Err(SalesError::NotFound) => return Ok(Heard::Unknown),
            intent => intent?,
        };
        // Of what was made before that was written down anyone may tell.
        if intent.provider.as_deref().is_some_and(|it| it != provider) {
            return Ok(Heard::Unknown);
        }
        if told.outcome == IntentState::Pending {
            return Ok(Heard::Taken);
        }
        if told.amount != Some(intent.amount) {
            tracing::error!(intent.id = %intent.id, "the provider tells of another amount");
            return Ok(Heard::Mismatch);
        }
        let event = GatewayEvent {
            provider: provider.to_owned(),
            id: told.event_id,
        };
        let sale = self.clone();
        self.to_the_end(async move {
            let settle = Settle {
                event: Some(event),
                ..sale.settling(&intent, told.outcome, Some(told.provider_id))
            };
            let settled = sale.settle(settle).await?;
            let stands = settled.intent.state;
            if told.outcome == IntentState::Declined && stands == IntentState::Succeeded {
                tracing::error!(intent.id = %intent.id, "declined by the provider after it succeeded");
            }
            Ok(())
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
        let provider = gateway.provider.provider();
        let intents = async {
            let intents = self
                .store()
                .due_intents(provider, RESOLVED_PER_STEP)
                .await?;
            join_all(intents.iter().map(|intent| self.find_out(intent))).await;
            Ok::<_, SalesError>(())
        };
        let refunds = async {
            let refunds = self
                .store()
                .due_refunds(provider, RESOLVED_PER_STEP)
                .await?;
            join_all(refunds.iter().map(|refund| self.give_back(refund))).await;
            Ok::<_, SalesError>(())
        };
        // Neither waits for what the other meets.
        let (intents, refunds) = tokio::join!(intents, refunds);
        intents.and(refunds)
    }

    /// Shows what is not settled, and tells of what nobody asks about. The app's
    /// ticker calls it every [`UNSETTLED_INTERVAL_MS`], with a provider or without.
    ///
    /// # Errors
    /// [`SalesError::Unavailable`] while SQL is.
    pub async fn show_unsettled(&self) -> Result<(), SalesError> {
        let provider = self.gateway().map(|gateway| gateway.provider.provider());
        let unsettled = self.store().unsettled(provider).await?;
        let elsewhere = |of: fn(&Elsewhere) -> u64| unsettled.elsewhere.iter().map(of).sum();
        let (intents, refunds): (u64, u64) =
            (elsewhere(|it| it.intents), elsewhere(|it| it.refunds));
        for (what, count) in [
            ("intents", unsettled.intents),
            ("refunds", unsettled.refunds),
            ("refused", unsettled.refused),
            ("intents_elsewhere", intents),
            ("refunds_elsewhere", refunds),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a metric")]
            self.0
                .metrics
                .gauge(&GATEWAY_UNSETTLED, &[what])
                .set(count as f64);
        }
        // Once for each that comes.
        let told = self.0.elsewhere.swap(intents + refunds, Ordering::Relaxed);
        if intents + refunds > told {
            for other in &unsettled.elsewhere {
                tracing::error!(
                    gateway.provider = other.provider.as_deref().unwrap_or("unknown"),
                    intents = other.intents,
                    refunds = other.refunds,
                    "nobody asks this payment provider, which is not configured"
                );
            }
        }
        Ok(())
    }

    async fn find_out(&self, intent: &Intent) {
        match self.standing(intent).await {
            Ok(charge) => {
                if let Err(error) = self.take(intent, charge, None).await {
                    tracing::warn!(intent.id = %intent.id, error = %error, "outcome of a payment not kept yet");
                }
            }
            // There is none, and never will be: one that is there is answered.
            Err(GatewayError::Refused { status }) if !is_about_us(status) => {
                tracing::warn!(intent.id = %intent.id, status, "payment never begun");
                if let Err(error) = self.decline(intent, None).await {
                    tracing::warn!(intent.id = %intent.id, error = %error, "outcome of a payment not kept yet");
                }
            }
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment still not decided");
            }
        }
    }

    /// Where it stands; from now on nobody confirms it who has not yet, unless
    /// its buyer has time left.
    async fn standing(&self, intent: &Intent) -> Result<Charge, GatewayError> {
        let missing = || GatewayError::Unavailable("none".to_owned());
        let provider = &self.gateway().ok_or_else(missing)?.provider;
        let id = match &intent.provider_id {
            Some(id) => id.clone(),
            // It may never have heard of it.
            None => provider.create(intent).await?.provider_id,
        };
        // Only what was never made is refused.
        let there = |error| match error {
            GatewayError::Refused { status } => {
                GatewayError::Unavailable(format!("it refused with {status}"))
            }
            error => error,
        };
        let charge = provider.look(&intent.id, &id).await.map_err(there)?;
        match charge.state {
            ChargeState::Open if intent.action_url.is_none() => {
                provider.cancel(&intent.id, &id).await.map_err(there)
            }
            _ => Ok(charge),
        }
    }

    async fn give_back(&self, refund: &OwedRefund) {
        let kept = match self.refund_standing(refund).await {
            Ok(RefundStanding::Succeeded) => self.refund_done(refund).await,
            Ok(RefundStanding::Pending | RefundStanding::Unknown) => Ok(()),
            Ok(RefundStanding::Failed) => self.refund_refused(refund, "it failed").await,
            Err(error @ GatewayError::Refused { status }) if !is_about_us(status) => {
                self.refund_refused(refund, &error.to_string()).await
            }
            Err(error) => {
                tracing::warn!(refund.id = %refund.id, error = %error, "money not given back yet");
                Ok(())
            }
        };
        if let Err(error) = kept {
            tracing::warn!(refund.id = %refund.id, error = %error, "outcome of a refund not kept yet");
        }
    }

    /// Asks for it, unless it was asked for before.
    async fn refund_standing(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        let missing = || GatewayError::Unavailable("none".to_owned());
        let provider = &self.gateway().ok_or_else(missing)?.provider;
        if refund.tries == 0 {
            return provider.refund(refund).await;
        }
        match provider.look_refund(refund).await? {
            RefundStanding::Unknown => provider.refund(refund).await,
            RefundStanding::Failed if refund.tries < FAILED_TRIES => provider.refund(refund).await,
            known => Ok(known),
        }
    }

    async fn refund_done(&self, refund: &OwedRefund) -> Result<(), SalesError> {
        self.0.failpoints.hit(Point::RefundAnswered).await?;
        self.store().refund_done(refund.id.clone()).await
    }

    async fn refund_refused(&self, refund: &OwedRefund, why: &str) -> Result<(), SalesError> {
        tracing::error!(refund.id = %refund.id, why, "money cannot be given back: see 'usher refunds'");
        self.store().refund_refused(refund.id.clone()).await
    }
}

/// Whether the provider refuses us, and not what we ask for.
pub(super) fn is_about_us(status: u16) -> bool {
    matches!(status, 401 | 403)
}
