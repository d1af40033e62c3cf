//! Notifications by HTTP: one POST each, JSON, signed if there is a secret.
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
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::NotifierConfig;
use crate::engine::consumers::{Post, PostError};

#[cfg(test)]
mod tests;

/// Of one answer.
const ANSWER_BYTES_MAX: usize = 65_536;
const IDLE_FOR: Duration = Duration::from_secs(30);

pub struct Webhook {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    key: Option<hmac::Key>,
    clock: Arc<dyn Clock>,
    within: Duration,
}

impl Webhook {
    /// `None` where none is configured, or its URL is none.
    #[must_use]
    pub fn of(config: &NotifierConfig, clock: Arc<dyn Clock>) -> Option<Self> {
        let uri = config.url.as_ref()?.reveal().parse().ok()?;
        let secret = config.secret.as_ref();
        Some(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(config.in_flight_max)
                .pool_idle_timeout(IDLE_FOR)
                .pool_timer(TokioTimer::new())
                .build(HttpConnector::new()),
            uri,
            key: secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes())),
            clock,
            within: Duration::from_millis(config.timeout_ms),
        })
    }

    fn request(&self, id: &str, body: String) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
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
