//! Rooms as text for people and as JSON for programs.

use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use crate::proto::v1 as wire;

pub(super) fn table(rooms: &[wire::Room]) {
    println!(
        "{:<24} {:<10} {:>9} {:>9} {:>8}  NAME",
        "ROOM", "STATE", "WAITING", "CAPACITY", "RATE/S"
    );
    for room in rooms {
        let policy = room.policy.clone().unwrap_or_default();
        println!(
            "{:<24} {:<10} {:>9} {:>9} {:>8}  {}",
            room.id,
            state_name(room),
            waiting(room),
            policy.capacity,
            policy.rate,
            room.name
        );
    }
}

/// One fact a line.
pub(super) fn details(room: &wire::Room) {
    if let Value::Object(facts) = as_json(room) {
        for (name, value) in facts {
            match value {
                Value::Null => {}
                Value::String(text) => println!("{name:<18} {text}"),
                other => println!("{name:<18} {other}"),
            }
        }
    }
}

pub(super) fn json(rooms: &[wire::Room]) {
    for room in rooms {
        println!("{}", as_json(room));
    }
}

fn as_json(room: &wire::Room) -> Value {
    let policy = room.policy.clone().unwrap_or_default();
    let protects = policy.protects.clone().unwrap_or_default();
    let order = match policy.order() {
        wire::RoomOrder::Draw => "DRAW",
        wire::RoomOrder::Fifo | wire::RoomOrder::Unspecified => "FIFO",
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "id": room.id,
        "name": room.name,
        "state": state_name(room),
        "message": text(&room.message),
        "resumes_at": time(room.resumes_at.as_ref()),
        "waiting": waiting(room),
        "capacity": policy.capacity,
        "rate": policy.rate,
        "order": order,
        "access": access_name(&policy),
        "lanes": lanes(room, &policy),
        "opens_at": time(policy.opens_at.as_ref()),
        "closes_at": time(policy.closes_at.as_ref()),
        "pass_ttl_s": seconds(policy.pass_ttl.as_ref()),
        "claim_window_s": seconds(policy.claim_window.as_ref()),
        "absence_grace_s": seconds(policy.absence_grace.as_ref()),
        "max_waiting": policy.max_waiting,
        "concerts": protects.concert_ids,
        "performances": protects.performance_ids,
        "campaigns": protects.campaign_ids,
        "etag": room.etag,
    })
}

fn access_name(policy: &wire::RoomPolicy) -> &'static str {
    match policy.access() {
        wire::RoomAccess::Code => "CODE",
        wire::RoomAccess::Open | wire::RoomAccess::Unspecified => "OPEN",
    }
}

/// `None` for a room of one line.
fn lanes(room: &wire::Room, policy: &wire::RoomPolicy) -> Option<Vec<Value>> {
    let lanes = policy.lanes.iter().zip(&room.lanes).map(|(lane, status)| {
        json!({
            "name": lane.name,
            "weight": lane.weight,
            "waiting": status.waiting_total,
        })
    });
    (policy.lanes.len() > 1).then(|| lanes.collect())
}

/// The state without the prefix of its enum.
fn state_name(room: &wire::Room) -> &'static str {
    let name = room.state().as_str_name();
    name.strip_prefix("ROOM_STATE_").unwrap_or(name)
}

fn waiting(room: &wire::Room) -> u64 {
    room.lanes.iter().map(|lane| lane.waiting_total).sum()
}

fn time(time: Option<&Timestamp>) -> Option<String> {
    time.map(ToString::to_string)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(span: Option<&Duration>) -> Option<f64> {
    span.map(|span| span.seconds as f64 + f64::from(span.nanos) / 1e9)
}
