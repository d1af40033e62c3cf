//! A provider behind HTTP and JSON, as `docs/operations/payments.md` has it.
//!
//! Each call has a time limit of its own, its connection included. What fails
//! time and again opens a breaker, which only fails fast: a provider that is
//! away holds up nobody, and one that is busy is not away. Errors carry statuses
//! and no bodies: those may name people.

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

use super::{Charge, ChargeState, GatewayError, PaymentGateway, RefundStanding};
use crate::breaker::Breaker;
use crate::config::GatewayConfig;
use crate::config::is_guarded;
use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::intent::Intent;
use crate::domain::sale::money::Money;
use crate::metrics::{GATEWAY_BREAKER_OPENED, GATEWAY_CALL_DURATION, Metrics};
use crate::store::sales::OwedRefund;

mod connect;

use connect::Connector;

/// Of one answer.
const ANSWER_BYTES_MAX: usize = 65_536;
const ACTION_BYTES_MAX: usize = 2_048;
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
    busy: Histogram,
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
                busy: duration("busy"),
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
            return Err(GatewayError::NotSent);
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
            Err(GatewayError::Busy { .. }) => &self.figures.busy,
            Err(GatewayError::Unavailable(_) | GatewayError::NotSent) => &self.figures.gone,
        };
        histogram.record(took);
        match &answer {
            Err(GatewayError::Unavailable(_) | GatewayError::NotSent) => {
                if self.breaker.failed(Instant::now()) {
                    self.figures.breaker_opened.increment(1);
                    tracing::warn!(gateway.provider = %self.provider, "payment provider away");
                }
            }
            Ok(_) | Err(GatewayError::Refused { .. } | GatewayError::Busy { .. }) => {
                self.breaker.succeeded();
            }
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
            // What is wrong with it would quote it.
            200..=299 => serde_json::from_slice(&body).map_err(|_| unreadable()),
            // Of those that refuse, these may say otherwise later.
            status @ (409 | 425 | 429) => Err(GatewayError::Busy { status }),
            408 | 500.. => Err(unavailable(&status)),
            status => Err(GatewayError::Refused { status }),
        }
    }
}

/// As every answer about an intent has it.
#[derive(Deserialize)]
struct Standing {
    id: String,
    /// Ours.
    reference: String,
    state: String,
    amount_minor: i64,
    currency: String,
    action: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    url: String,
}

#[derive(Deserialize)]
struct OfRefund {
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
    /// What it says of this intent; of another it says nothing.
    fn charge(self, intent: &ResourceId, id: Option<&str>) -> Result<Charge, GatewayError> {
        let is_other = id.is_some_and(|id| id != self.id) || self.reference != intent.as_str();
        let state = state(&self.state);
        let currency = Currency::parse(&self.currency).ok();
        let (false, Some(state), Some(currency)) = (is_other, state, currency) else {
            return Err(unreadable());
        };
        path_of(&self.id, "")?;
        let action = self.action.map(|action| action.url);
        Ok(Charge {
            provider_id: self.id,
            state,
            amount: Money::new(currency, self.amount_minor),
            action_url: action.filter(|url| state == ChargeState::Open && is_action(url)),
        })
    }
}

/// What a buyer may be sent to.
fn is_action(url: &str) -> bool {
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    url.len() <= ACTION_BYTES_MAX && is_plain && is_guarded(url)
}

impl OfRefund {
    fn standing(&self) -> Result<RefundStanding, GatewayError> {
        match self.state.as_str() {
            "none" => Ok(RefundStanding::Unknown),
            "pending" => Ok(RefundStanding::Pending),
            "succeeded" => Ok(RefundStanding::Succeeded),
            "failed" => Ok(RefundStanding::Failed),
            _ => Err(unreadable()),
        }
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

    async fn create(&self, intent: &Intent) -> Result<Charge, GatewayError> {
        let id = intent.id.as_str();
        let body = json!({
            "reference": id,
            "amount_minor": intent.amount.amount_minor,
            "currency": intent.amount.currency.as_str(),
        });
        let made: Standing = self.call(Method::POST, "/intents", Some(id), &body).await?;
        made.charge(&intent.id, None)
    }

    async fn confirm(
        &self,
        intent: &ResourceId,
        provider_id: &str,
        token: &str,
    ) -> Result<Charge, GatewayError> {
        let path = path_of(provider_id, "/confirm")?;
        let key = format!("{intent}-confirm");
        let body = json!({ "token": token });
        let made: Standing = self.call(Method::POST, &path, Some(&key), &body).await?;
        made.charge(intent, Some(provider_id))
    }

    async fn look(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError> {
        let path = path_of(provider_id, "")?;
        let found: Standing = self.call(Method::GET, &path, None, &Value::Null).await?;
        found.charge(intent, Some(provider_id))
    }

    async fn cancel(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError> {
        let path = path_of(provider_id, "/cancel")?;
        let ended: Standing = self.call(Method::POST, &path, None, &json!({})).await?;
        ended.charge(intent, Some(provider_id))
    }

    async fn refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        let path = path_of(&refund.provider_id, "/refunds")?;
        let key = refund.id.as_str();
        let body = json!({
            "reference": key,
            "amount_minor": refund.amount.amount_minor,
            "currency": refund.amount.currency.as_str(),
        });
        let made: OfRefund = self.call(Method::POST, &path, Some(key), &body).await?;
        made.standing()
    }

    async fn look_refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        let path = path_of(&refund.provider_id, &format!("/refunds/{}", refund.id))?;
        let found: Result<OfRefund, _> = self.call(Method::GET, &path, None, &Value::Null).await;
        match found {
            Err(GatewayError::Refused { status: 404 }) => Ok(RefundStanding::Unknown),
            found => found?.standing(),
        }
    }
}

#[cfg(test)]
mod tests;
