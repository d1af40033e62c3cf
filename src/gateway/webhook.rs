//! What a provider tells by itself: signed, and not long ago.
//!
//! `gateway-signature: t=<unix seconds>,v1=<hex>`, where `v1` is HMAC-SHA-256 of
//! `<t>.<body>` under the shared secret. Several `v1` are allowed, for a secret
//! that changes; one must fit. They are compared in constant time. The same
//! bytes are good for the tolerance only; within it, the event's id tells a
//! repeat (`Settle::event`).

use aws_lc_rs::hmac;
use serde::Deserialize;

use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::intent::IntentState;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;

pub const SIGNATURE_HEADER: &str = "gateway-signature";

/// Signatures looked at in one header.
const SIGNATURES_MAX: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No signature that fits, or one of another time.
    #[error("the signature does not fit")]
    Signature,
    #[error("the event cannot be read")]
    Unreadable,
}

/// What was told about an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub event_id: String,
    pub provider_id: String,
    pub intent: ResourceId,
    /// Pending if nothing is decided.
    pub outcome: IntentState,
    /// Set if something is.
    pub amount: Option<Money>,
}

pub struct Verifier {
    key: hmac::Key,
    tolerance_ms: u64,
}

impl Verifier {
    #[must_use]
    pub fn new(secret: &str, tolerance_ms: u64) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            tolerance_ms,
        }
    }

    /// The event, if its sender knows the secret; `None` if it is about something
    /// else than an intent.
    ///
    /// # Errors
    /// [`WebhookError`], which says nothing about why a signature does not fit.
    pub fn read(
        &self,
        signature: &str,
        body: &[u8],
        now: UnixMs,
    ) -> Result<Option<Told>, WebhookError> {
        self.verify(signature, body, now)?;
        let event: Event = serde_json::from_slice(body).map_err(|_| WebhookError::Unreadable)?;
        let Some(intent) = event.intent else {
            return Ok(None);
        };
        told(event.id, intent)
            .ok_or(WebhookError::Unreadable)
            .map(Some)
    }

    fn verify(&self, signature: &str, body: &[u8], now: UnixMs) -> Result<(), WebhookError> {
        let parts = signature
            .split(',')
            .filter_map(|part| part.trim().split_once('='));
        let (mut time, mut tags) = (None, Vec::new());
        for (name, value) in parts {
            match name {
                "t" if time.is_none() => time = Some(value),
                "v1" if tags.len() < SIGNATURES_MAX => tags.extend(from_hex(value)),
                _ => {}
            }
        }
        let time = time.ok_or(WebhookError::Signature)?;
        let seconds: u64 = time.parse().map_err(|_| WebhookError::Signature)?;
        let at_ms = seconds.saturating_mul(1_000);
        let signed = [time.as_bytes(), b".", body].concat();
        let fits = |tag: &Vec<u8>| hmac::verify(&self.key, &signed, tag).is_ok();
        match tags.iter().any(fits) && now.0.abs_diff(at_ms) <= self.tolerance_ms {
            true => Ok(()),
            false => Err(WebhookError::Signature),
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.chunks_exact(2);
    let bytes = pairs.map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok());
    bytes.collect()
}

#[derive(Deserialize)]
struct Event {
    id: String,
    intent: Option<EventIntent>,
}

#[derive(Deserialize)]
struct EventIntent {
    id: String,
    reference: String,
    state: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
}

/// Ids as long as a column has room for.
const ID_BYTES_MAX: usize = 128;

fn told(event_id: String, intent: EventIntent) -> Option<Told> {
    let is_id = |id: &str| (1..=ID_BYTES_MAX).contains(&id.len());
    if !is_id(&event_id) || !is_id(&intent.id) {
        return None;
    }
    // A state that we do not know decides nothing.
    let state = super::http::state(&intent.state);
    let outcome = state.map_or(IntentState::Pending, super::ChargeState::outcome);
    let currency = intent.currency.as_deref();
    let currency = currency.and_then(|code| Currency::parse(code).ok());
    let amount = currency.zip(intent.amount_minor);
    let amount = amount.map(|(currency, minor)| Money::new(currency, minor));
    if outcome != IntentState::Pending && amount.is_none() {
        return None;
    }
    Some(Told {
        event_id,
        provider_id: intent.id,
        intent: ResourceId::parse(&intent.reference).ok()?,
        outcome,
        amount,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec";
    const NOW: UnixMs = UnixMs(1_700_000_000_000);
    const BODY: &[u8] = br#"{"id":"evt_1","intent":{"id":"pi_1","reference":"i1","state":"succeeded","amount_minor":5,"currency":"EUR"}}"#;

    fn signed(secret: &str, seconds: u64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let text = [format!("{seconds}.").as_bytes(), body].concat();
        let tag = hmac::sign(&key, &text);
        let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("t={seconds},v1={hex}")
    }

    fn read(signature: &str, body: &[u8]) -> Result<Option<Told>, WebhookError> {
        Verifier::new(SECRET, 300_000).read(signature, body, NOW)
    }

    #[test]
    fn what_was_signed_in_time_is_read() {
        let told = read(&signed(SECRET, 1_700_000_000, BODY), BODY)
            .unwrap()
            .unwrap();
        assert_eq!(
            (told.event_id.as_str(), told.intent.as_str()),
            ("evt_1", "i1")
        );
        assert_eq!(told.outcome, IntentState::Succeeded);
        assert_eq!(told.amount.unwrap().amount_minor, 5);
        for edge in [1_699_999_700, 1_700_000_300] {
            assert!(read(&signed(SECRET, edge, BODY), BODY).is_ok(), "{edge}");
        }
        let rotated = format!("{},v1={}", signed("old", 1_700_000_000, BODY), {
            let new = signed(SECRET, 1_700_000_000, BODY);
            new.split_once("v1=").unwrap().1.to_owned()
        });
        assert!(read(&rotated, BODY).is_ok());
        let other = br#"{"id":"evt_2","type":"payout.paid"}"#;
        assert_eq!(read(&signed(SECRET, 1_700_000_000, other), other), Ok(None));
    }

    #[test]
    fn whatever_is_signed_otherwise_is_refused() {
        let good = signed(SECRET, 1_700_000_000, BODY);
        let changed = BODY.iter().map(|b| if *b == b'5' { b'6' } else { *b });
        let changed: Vec<u8> = changed.collect();
        assert_eq!(read(&good, &changed), Err(WebhookError::Signature));
        let later = good.replace("t=1700000000", "t=1700000001");
        for bad in [
            String::new(),
            "t=1700000000".to_owned(),
            "v1=00".to_owned(),
            good.replace("t=", "u="),
            good.replace("v1", "v0"),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            later,
            signed("other", 1_700_000_000, BODY),
            signed(SECRET, 1_699_999_699, BODY),
            signed(SECRET, 1_700_000_301, BODY),
            signed(SECRET, u64::MAX, BODY),
            format!("t=1700000000,v1={}", "é".repeat(32)),
        ] {
            assert_eq!(read(&bad, BODY), Err(WebhookError::Signature), "{bad}");
        }
    }

    #[test]
    fn what_is_no_event_is_unreadable() {
        for body in [
            &b"{"[..],
            b"{}",
            br#"{"id":7}"#,
            br#"{"id":"e","intent":{"id":"","reference":"i","state":"succeeded","amount_minor":5,"currency":"EUR"}}"#,
            br#"{"id":"e","intent":{"id":"p","reference":"i","state":"declined"}}"#,
            br#"{"id":"e","intent":{"id":"p","reference":"/*","state":"succeeded","amount_minor":5,"currency":"EUR"}}"#,
            br#"{"id":"e","intent":{"id":"p","reference":"i","state":"succeeded","amount_minor":5,"currency":"euro"}}"#,
        ] {
            let signature = signed(SECRET, 1_700_000_000, body);
            let text = String::from_utf8_lossy(body);
            assert_eq!(read(&signature, body), Err(WebhookError::Unreadable), "{text}");
        }
    }

    #[test]
    fn what_decides_nothing_needs_no_amount() {
        for state in ["requires_action", "processing", "open"] {
            let body =
                format!(r#"{{"id":"e","intent":{{"id":"p","reference":"i","state":"{state}"}}}}"#);
            let signature = signed(SECRET, 1_700_000_000, body.as_bytes());
            let told = read(&signature, body.as_bytes()).unwrap().unwrap();
            assert_eq!((told.outcome, told.amount), (IntentState::Pending, None));
        }
    }
}
