//! The payment provider: its client, its resolver, and its webhooks.
//!
//! `POST /webhooks/payments/{provider}` answers 200 when an event is taken (now
//! or before, or is about nothing of ours to decide); 400 for what is no event;
//! 401 without a signature that fits; 404 for another provider or an unknown
//! intent; 408 and 413 for a body that is slow or large; 422 for another amount;
//! 503 when it is to be told again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, GatewayConfig};
use crate::engine::sale::{Gateway, Heard, RESOLVE_INTERVAL_MS, SaleEngine, UNSETTLED_INTERVAL_MS};
use crate::gateway::PaymentGateway;
use crate::gateway::http::{HttpGateway, SettingError};
use crate::gateway::memory::MemoryGateway;
use crate::gateway::webhook::{SIGNATURE_HEADER, Verifier, WebhookError};

use super::StartError;
use super::node::Node;
use super::stores::Stores;

/// Of one event.
const EVENT_BYTES_MAX: usize = 65_536;
/// What may pass between two calls of one attempt, besides these.
const LOOK_MARGIN_MS: u64 = 1_000;
/// Of a provider in this process, which is never waited for.
const LOOK_AT_MEMORY_AFTER_MS: u64 = 3_000;

/// The configured provider; `None` without one.
fn provider(
    config: &GatewayConfig,
    stores: &Stores,
) -> Result<Option<Arc<dyn PaymentGateway>>, StartError> {
    if config.is_memory() {
        tracing::warn!("payments by the gateway are play money: gateway.url is memory:");
        let memory = MemoryGateway::new(Arc::clone(&stores.clock));
        return Ok(Some(Arc::new(memory)));
    }
    match HttpGateway::of(config, &stores.metrics) {
        Ok(None) => Ok(None),
        Ok(Some(provider)) => Ok(Some(Arc::new(provider))),
        Err(SettingError { key, why }) => Err(StartError::Setting { key, why }),
    }
}

pub(super) fn gateway(config: &Config, stores: &Stores) -> Result<Option<Gateway>, StartError> {
    let config = &config.gateway;
    let metrics = &stores.metrics;
    Ok(provider(config, stores)?.map(|provider| Gateway {
        provider,
        refunds_only: config.refunds_only,
        answer_within: Duration::from_millis(config.answer_within_ms),
        time_limit_ms: config.time_limit_ms,
        look_after_ms: match config.is_memory() {
            true => LOOK_AT_MEMORY_AFTER_MS,
            // It makes it known, and confirms or cancels it.
            false => 3 * config.call_timeout_ms + LOOK_MARGIN_MS,
        },
        permits: Arc::new(Semaphore::new(config.payments_max)),
        charges: TaskTracker::new(),
        metrics: metrics.clone(),
    }))
}

impl Node {
    pub(super) fn start_resolver(&self) {
        let sale = self.sale.clone();
        // Without a provider, too: one may have been configured before.
        self.every(
            "payments.count",
            Duration::from_millis(UNSETTLED_INTERVAL_MS),
            move || {
                let sale = sale.clone();
                async move {
                    if let Err(error) = sale.show_unsettled().await {
                        tracing::warn!(error = %error, "payments not counted");
                    }
                }
            },
        );
        if self.sale.gateway().is_none() {
            return;
        }
        let sale = self.sale.clone();
        let period = Duration::from_millis(RESOLVE_INTERVAL_MS);
        self.every("payments", period, move || {
            let sale = sale.clone();
            async move {
                if let Err(error) = sale.resolve().await {
                    tracing::warn!(error = %error, "payments not resolved");
                }
            }
        });
    }
}

struct Webhooks {
    sale: SaleEngine,
    clock: Arc<dyn Clock>,
    verifier: Verifier,
    /// For a whole body.
    patience: Duration,
}

/// Where the provider tells by itself; nowhere without a secret of it.
pub(super) fn webhooks(config: &Config, sale: &SaleEngine, clock: &Arc<dyn Clock>) -> Router {
    let gateway = &config.gateway;
    let Some(secret) = gateway
        .webhook_secret
        .as_ref()
        .filter(|_| sale.gateway().is_some() && !gateway.is_memory())
    else {
        return Router::new();
    };
    let webhooks = Arc::new(Webhooks {
        sale: sale.clone(),
        clock: Arc::clone(clock),
        verifier: Verifier::new(secret.reveal(), gateway.webhook_tolerance_ms),
        patience: Duration::from_millis(config.transport.request_timeout_ms),
    });
    Router::new()
        .route("/webhooks/payments/{provider}", post(receive))
        .with_state(webhooks)
}

async fn receive(
    State(webhooks): State<Arc<Webhooks>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let known = webhooks
        .sale
        .gateway()
        .map(|gateway| gateway.provider.provider());
    if known != Some(provider.as_str()) {
        return StatusCode::NOT_FOUND;
    }
    let body = match timeout(webhooks.patience, to_bytes(body, EVENT_BYTES_MAX)).await {
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
        Ok(Ok(body)) => body,
    };
    let signature = headers
        .get(SIGNATURE_HEADER)
        .and_then(|value| value.to_str().ok());
    let now = webhooks.clock.now();
    let told = webhooks
        .verifier
        .read(signature.unwrap_or_default(), &body, now);
    let told = match told {
        Ok(Some(told)) => told,
        Ok(None) => return StatusCode::OK,
        Err(WebhookError::Signature) => return StatusCode::UNAUTHORIZED,
        Err(WebhookError::Unreadable) => return StatusCode::BAD_REQUEST,
    };
    match webhooks.sale.hear(told).await {
        Ok(Heard::Taken) => StatusCode::OK,
        Ok(Heard::Unknown) => StatusCode::NOT_FOUND,
        Ok(Heard::Mismatch) => StatusCode::UNPROCESSABLE_ENTITY,
        Err(error) => {
            tracing::warn!(error = %error, "webhook not taken");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
