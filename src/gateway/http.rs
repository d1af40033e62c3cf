//! A provider behind HTTP and JSON, as `docs/operations/payments.md` has it.
//!
//! Each call has a time limit of its own, its connection included. What fails
//! time and again opens a breaker, which only fails fast: a provider that is
//! away holds up nobody. Errors carry statuses and no bodies: those may name
//! people.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::{Counter, Histogram};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{ChargeState, GatewayError, PaymentGateway};
use crate::breaker::Breaker;
use crate::config::GatewayConfig;
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::Intent;
use crate::metrics::{GATEWAY_BREAKER_OPENED, GATEWAY_CALL_DURATION, Metrics};
use crate::store::sales::OwedRefund;

mod connect;

use connect::Connector;

/// Of one answer.
const ANSWER_BYTES_MAX: usize = 65_536;
/// Idle connections kept for the next calls.
const IDLE_MAX: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(30);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {why}")]
pub struct SettingError {
    pub key: &'static str,
    pub why: String,
}

impl SettingError {
    fn new(key: &'static str, why: impl Into<String>) -> Self {
        Self {
            key,
            why: why.into(),
        }
    }
}

pub struct HttpGateway {
    client: Client<Connector, Full<Bytes>>,
    /// Without a slash at its end.
    url: String,
    provider: String,
    authorization: HeaderValue,
    call_timeout: Duration,
    breaker: Breaker,
    figures: Figures,
}

/// By how calls went.
struct Figures {
    answered: Histogram,
    refused: Histogram,
    gone: Histogram,
    breaker_opened: Counter,
}

impl HttpGateway {
    /// `None` where none is configured.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn of(config: &GatewayConfig, metrics: &Metrics) -> Result<Option<Self>, SettingError> {
        let (Some(url), Some(api_key)) = (&config.url, &config.api_key) else {
            return Ok(None);
        };
        let url = url.reveal().trim_end_matches('/').to_owned();
        let uri: Result<Uri, _> = url.parse();
        uri.map_err(|_| SettingError::new("gateway.url", "is no URL"))?;
        let bearer = format!("Bearer {}", api_key.reveal());
        let authorization = HeaderValue::try_from(bearer);
        let mut authorization = authorization
            .map_err(|_| SettingError::new("gateway.api_key", "does not fit in a header"))?;
        authorization.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(TokioTimer::new())
            .build(Connector::new(config.ca_file.as_deref())?);
        let duration = |outcome| metrics.histogram(&GATEWAY_CALL_DURATION, &[outcome]);
        Ok(Some(Self {
            client,
            url,
            provider: config.provider.clone(),
            authorization,
            call_timeout: Duration::from_millis(config.call_timeout_ms),
            breaker: Breaker::new(
                config.breaker_failures,
                Duration::from_millis(config.breaker_open_ms),
            ),
            figures: Figures {
                answered: duration("answered"),
                refused: duration("refused"),
                gone: duration("gone"),
                breaker_opened: metrics.counter(&GATEWAY_BREAKER_OPENED, &[]),
            },
        }))
    }

    async fn call<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<T, GatewayError> {
        if !self.breaker.admits(Instant::now()) {
            return Err(GatewayError::Unavailable("it failed just now".to_owned()));
        }
        let began = Instant::now();
        let answer = match timeout(self.call_timeout, self.send(method, path, key, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(GatewayError::Unavailable("no answer in time".to_owned())),
        };
        let took = began.elapsed().as_secs_f64();
        let histogram = match &answer {
            Ok(_) => &self.figures.answered,
            Err(GatewayError::Refused { .. }) => &self.figures.refused,
            Err(GatewayError::Unavailable(_)) => &self.figures.gone,
        };
        histogram.record(took);
        match &answer {
            Err(GatewayError::Unavailable(_)) => {
                if self.breaker.failed(Instant::now()) {
                    self.figures.breaker_opened.increment(1);
                    tracing::warn!(gateway.provider = %self.provider, "payment provider away");
                }
            }
            Ok(_) | Err(GatewayError::Refused { .. }) => self.breaker.succeeded(),
        }
        answer
    }

    async fn send<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<T, GatewayError> {
        let unavailable =
            |error: &dyn std::fmt::Display| GatewayError::Unavailable(error.to_string());
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| unavailable(&error))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| unavailable(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| unavailable(&error))?.to_bytes();
        match status.as_u16() {
            200..=299 => serde_json::from_slice(&body).map_err(|error| unavailable(&error)),
            // Of those that refuse, these may say otherwise later.
            408 | 409 | 425 | 429 | 500.. => Err(unavailable(&status)),
            status => Err(GatewayError::Refused { status }),
        }
    }
}

/// As every answer about an intent has it.
#[derive(Deserialize)]
struct Standing {
    id: String,
    state: String,
}

#[derive(Deserialize)]
struct RefundStanding {
    state: String,
}

/// What the provider calls it.
pub(super) fn state(name: &str) -> Option<ChargeState> {
    match name {
        "open" => Some(ChargeState::Open),
        "processing" => Some(ChargeState::Processing),
        "succeeded" => Some(ChargeState::Succeeded),
        "declined" | "cancelled" => Some(ChargeState::Declined),
        _ => None,
    }
}

fn unreadable() -> GatewayError {
    GatewayError::Unavailable("an answer that is not understood".to_owned())
}

impl Standing {
    fn state(&self) -> Result<ChargeState, GatewayError> {
        state(&self.state).ok_or_else(unreadable)
    }
}

/// Ids are theirs: they go into a path, and a column.
fn path_of(provider_id: &str, rest: &str) -> Result<String, GatewayError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=128).contains(&provider_id.len()) && provider_id.chars().all(is_plain);
    match fits && !provider_id.starts_with('.') {
        true => Ok(format!("/intents/{provider_id}{rest}")),
        false => Err(unreadable()),
    }
}

#[async_trait]
impl PaymentGateway for HttpGateway {
    fn provider(&self) -> &str {
        &self.provider
    }

    async fn create(&self, intent: &Intent) -> Result<String, GatewayError> {
        let id = intent.id.as_str();
        let body = json!({
            "reference": id,
            "amount_minor": intent.amount.amount_minor,
            "currency": intent.amount.currency.as_str(),
        });
        let made: Standing = self.call(Method::POST, "/intents", Some(id), &body).await?;
        path_of(&made.id, "")?;
        Ok(made.id)
    }

    async fn confirm(
        &self,
        intent: &ResourceId,
        provider_id: &str,
        token: &str,
    ) -> Result<ChargeState, GatewayError> {
        let path = path_of(provider_id, "/confirm")?;
        let key = format!("{intent}-confirm");
        let body = json!({ "token": token });
        let made: Standing = self.call(Method::POST, &path, Some(&key), &body).await?;
        made.state()
    }

    async fn look(&self, provider_id: &str) -> Result<ChargeState, GatewayError> {
        let path = path_of(provider_id, "")?;
        let found: Standing = self.call(Method::GET, &path, None, &Value::Null).await?;
        found.state()
    }

    async fn cancel(&self, provider_id: &str) -> Result<ChargeState, GatewayError> {
        let path = path_of(provider_id, "/cancel")?;
        let ended: Standing = self.call(Method::POST, &path, None, &json!({})).await?;
        ended.state()
    }

    async fn refund(&self, refund: &OwedRefund) -> Result<bool, GatewayError> {
        let path = path_of(&refund.provider_id, "/refunds")?;
        let key = refund.id.as_str();
        let body = json!({
            "reference": key,
            "amount_minor": refund.amount.amount_minor,
            "currency": refund.amount.currency.as_str(),
        });
        let made: RefundStanding = self.call(Method::POST, &path, Some(key), &body).await?;
        match made.state.as_str() {
            "succeeded" => Ok(true),
            "pending" => Ok(false),
            _ => Err(unreadable()),
        }
    }
}

#[cfg(test)]
mod tests;
