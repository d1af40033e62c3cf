//! Receivers of events by HTTP: one POST each, JSON, signed if there is a secret.
//!
//! `usher-event-id` is the event's; `usher-signature: t=<unix seconds>,v1=<hex>`,
//! where `v1` is HMAC-SHA-256 of `<t>.<body>` under the secret. Any 2xx is a
//! receipt. What the receiver says beside its status is not read further than
//! the connection needs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::{FeedConfig, NotifierConfig, Secret, SecretUrl};
use crate::engine::consumers::{CLOUD_EVENT, Post, PostError};

#[cfg(test)]
mod tests;

/// Of one answer.
const ANSWER_BYTES_MAX: usize = 65_536;
const IDLE_FOR: Duration = Duration::from_secs(30);

pub struct Webhook {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    content_type: HeaderValue,
    key: Option<hmac::Key>,
    clock: Arc<dyn Clock>,
    within: Duration,
}

impl Webhook {
    /// To whom users' notices go; `None` where none is configured, or its URL is
    /// none.
    #[must_use]
    pub fn of(config: &NotifierConfig, clock: Arc<dyn Clock>) -> Option<Self> {
        let json = HeaderValue::from_static("application/json");
        let within = Duration::from_millis(config.timeout_ms);
        let webhook = Self::to(config.url.as_ref()?, json, config.in_flight_max, clock)?;
        Some(webhook.with(config.secret.as_ref(), within))
    }

    /// The same, of a data platform.
    #[must_use]
    pub fn of_feed(config: &FeedConfig, clock: Arc<dyn Clock>) -> Option<Self> {
        let cloud_event = HeaderValue::from_static(CLOUD_EVENT);
        let within = Duration::from_millis(config.timeout_ms);
        let url = config.url.as_ref()?;
        let webhook = Self::to(url, cloud_event, config.in_flight_max, clock)?;
        Some(webhook.with(config.secret.as_ref(), within))
    }

    fn to(
        url: &SecretUrl,
        content_type: HeaderValue,
        in_flight_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        Some(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(in_flight_max)
                .pool_idle_timeout(IDLE_FOR)
                .pool_timer(TokioTimer::new())
                .build(HttpConnector::new()),
            uri: url.reveal().parse().ok()?,
            content_type,
            key: None,
            clock,
            within: Duration::ZERO,
        })
    }

    fn with(mut self, secret: Option<&Secret>, within: Duration) -> Self {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        self.key = secret.map(key);
        self.within = within;
        self
    }

    fn request(&self, id: &str, body: String) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, self.content_type.clone())
            .header("usher-event-id", id);
        if let Some(key) = &self.key {
            let seconds = self.clock.now().0 / 1_000;
            let tag = hmac::sign(key, format!("{seconds}.{body}").as_bytes());
            let hex: String = tag
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            request = request.header("usher-signature", format!("t={seconds},v1={hex}"));
        }
        request.body(Full::new(Bytes::from(body)))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, PostError> {
        let away = |error: &dyn std::fmt::Display| PostError::Away(error.to_string());
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| away(&error))?;
        let status = answer.status();
        // Read, for the connection to be used again.
        let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok(status)
    }
}

#[async_trait]
impl Post for Webhook {
    async fn post(&self, id: &str, body: String) -> Result<(), PostError> {
        let request = self.request(id, body);
        let request = request.map_err(|error| PostError::Refused(error.to_string()))?;
        match timeout(self.within, self.send(request)).await {
            Ok(status) => judge(status?),
            Err(_) => Err(PostError::Away("no answer in time".to_owned())),
        }
    }
}

fn judge(status: StatusCode) -> Result<(), PostError> {
    let said = format!("the receiver answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(PostError::Away(said)),
        status if status.is_server_error() => Err(PostError::Failed(said)),
        _ => Err(PostError::Refused(said)),
    }
}
