//! Intents that wait for their buyer: a provider asks for something, such as a
//! code, before it decides.
//!
//! One stays open until its hold ends; then the resolver cancels it. Before that
//! it ends when its buyer asks for something else: another attempt, the wallet,
//! or to give the seats back. It is cancelled at the provider first, with nothing
//! locked; what that answers counts.

use super::SaleEngine;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::intent::{Intent, IntentState};
use crate::store::sales::{AwaitBuyer, SalesError};

impl SaleEngine {
    pub(super) async fn await_buyer(
        &self,
        intent: &Intent,
        provider_id: String,
        action_url: String,
    ) -> Result<(), SalesError> {
        let command = AwaitBuyer {
            intent: intent.id.clone(),
            provider_id,
            action_url,
        };
        self.store().await_buyer(command).await
    }

    /// Ends the attempt to pay a hold that waits for its buyer, who asks for
    /// something else; whether it is decided now.
    ///
    /// # Errors
    /// [`SalesError::Unavailable`] while SQL is.
    pub(in super::super) async fn give_up_waiting(
        &self,
        user: &UserId,
        reservation: &ResourceId,
    ) -> Result<bool, SalesError> {
        let Some(gateway) = self.gateway() else {
            return Ok(false);
        };
        let held = self.store().reservation(user.clone(), reservation.clone());
        let Some(payment) = held.await?.payment else {
            return Ok(false);
        };
        let intent = match self.store().intent(payment).await {
            // By the wallet.
            Err(SalesError::NotFound) => return Ok(false),
            intent => intent?,
        };
        let is_ours = intent.provider.as_deref() == Some(gateway.provider.provider());
        let (Some(_), Some(id), true) = (&intent.action_url, &intent.provider_id, is_ours) else {
            return Ok(false);
        };
        match gateway.provider.cancel(&intent.id, id).await {
            Ok(ended) => {
                let stands = self.take(&intent, ended, None).await?;
                Ok(stands != IntentState::Pending)
            }
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = %error, "payment not cancelled");
                Ok(false)
            }
        }
    }
}
