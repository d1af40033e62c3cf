//! Events of the outbox as the contract's messages, and back.
//!
//! The body of a type that is known is a message of its own; what such a body
//! does not say whole travels beside it as JSON, so that a consumer of ours
//! reads exactly what was left in the outbox.

use prost::Message as _;
use prost_types::Timestamp;

use crate::bus::OutboxEvent;
use crate::domain::time::UnixMs;
use crate::proto::events::Event;

mod bodies;

/// What the outbox can hold.
const ID_CHARS_MAX: usize = 64;
const AGGREGATE_CHARS_MAX: usize = 255;
const TYPE_CHARS_MAX: usize = 64;

pub(super) fn encode(event: &OutboxEvent) -> Event {
    let encoded = bodies::encode(&event.kind, &event.payload);
    let (body, is_whole) = encoded.map_or((None, false), |(body, whole)| (Some(body), whole));
    Event {
        id: event.id.clone(),
        aggregate: event.aggregate.clone(),
        version: event.version,
        r#type: event.kind.clone(),
        create_time: Some(time(event.created_at)),
        unmapped_json: match is_whole {
            true => String::new(),
            false => event.payload.clone(),
        },
        body,
    }
}

/// # Errors
/// Why it is no event of ours.
pub(super) fn decode(bytes: &[u8]) -> Result<OutboxEvent, String> {
    let event = Event::decode(bytes).map_err(|error| error.to_string())?;
    if event.id.is_empty() || event.aggregate.is_empty() || event.r#type.is_empty() {
        return Err("no id, aggregate or type".to_owned());
    }
    for (name, text, chars_max) in [
        ("id", &event.id, ID_CHARS_MAX),
        ("aggregate", &event.aggregate, AGGREGATE_CHARS_MAX),
        ("type", &event.r#type, TYPE_CHARS_MAX),
    ] {
        if text.chars().count() > chars_max || text.contains('\0') {
            return Err(format!("its {name} is none of ours"));
        }
    }
    if event.unmapped_json.contains('\0') {
        return Err("its body is no JSON".to_owned());
    }
    let payload = match (&event.unmapped_json[..], event.body) {
        ("", Some(body)) => bodies::decode(body).to_string(),
        ("", None) => return Err("no body".to_owned()),
        (json, _) => json.to_owned(),
    };
    Ok(OutboxEvent {
        id: event.id,
        aggregate: event.aggregate,
        version: event.version,
        kind: event.r#type,
        payload,
        created_at: event.create_time.map_or(UnixMs(0), unix_ms),
        route: None,
        trace: None,
    })
}

pub(super) fn time(at: UnixMs) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        // Below a thousand million.
        nanos: i32::try_from(at.0 % 1_000).unwrap_or_default() * 1_000_000,
    }
}

pub(super) fn unix_ms(time: Timestamp) -> UnixMs {
    let seconds = u64::try_from(time.seconds).unwrap_or_default();
    let ms = u64::try_from(time.nanos / 1_000_000).unwrap_or_default();
    UnixMs(seconds.saturating_mul(1_000).saturating_add(ms))
}

#[cfg(test)]
mod tests;
