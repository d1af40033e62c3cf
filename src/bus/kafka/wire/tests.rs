use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn event(kind: &str, payload: &Value) -> OutboxEvent {
    OutboxEvent {
        id: "17".to_owned(),
        aggregate: "reservation:42".to_owned(),
        version: 3,
        kind: kind.to_owned(),
        payload: payload.to_string(),
        created_at: UnixMs(1_700_000_000_123),
        route: None,
        trace: None,
    }
}

/// What the store leaves in the outbox, by its type.
fn left() -> Vec<(&'static str, Value)> {
    let money = json!({ "currency": "EUR", "amount_minor": 4500 });
    let reservation = json!({
        "reservation_id": "r1", "performance_id": "p1", "user_id": "ann",
        "seat_ids": ["A-1", "A-2"], "total": money, "payment_id": null,
    });
    let mut paid = reservation.clone();
    paid["payment_id"] = "pay1".into();
    let payment = json!({
        "payment_id": "pay1", "reservation_id": "r1", "user_id": "ann", "amount": money,
    });
    let mut of_performance = payment.clone();
    of_performance["performance_id"] = "p1".into();
    let mut refund = of_performance.clone();
    refund["reason"] = "the band is ill".into();
    let seats = json!({ "performance_id": "p1", "seat_ids": ["A-1"], "reason": "" });
    let cancelled = json!({ "performance_id": "p1", "concert_id": "c1", "reason": "rain" });
    let refunding = json!({ "performance_id": "p1", "concert_id": "c1", "reason": "" });
    let turn = json!({
        "activation_id": "0b1e", "room_id": "room", "lane": 1, "number": 9,
        "user_id": "ann", "reason": "lost her phone", "by": "root",
    });
    let slot = json!({ "activation_id": "0b1e", "room_id": "room", "reason": "completed" });
    let place = json!({
        "room_id": "room", "place": { "lane": 0, "number": 77 }, "user_id": "bob",
    });
    let issued = json!({ "coupon_id": "k1", "campaign_id": "spring", "user_id": "ann" });
    let mut redeemed = issued.clone();
    redeemed["reservation_id"] = "r1".into();
    redeemed["discount"] = money.clone();
    vec![
        ("coupon.issued", issued),
        ("coupon.redeemed", redeemed.clone()),
        ("coupon.returned", redeemed),
        ("reservation.held", reservation),
        ("reservation.confirmed", paid.clone()),
        ("reservation.cancelled", paid),
        ("payment.succeeded", payment),
        ("payment.succeeded", of_performance),
        ("payment.refunded", refund),
        ("seats.blocked", seats.clone()),
        ("seats.unblocked", seats),
        ("performance.cancelled", cancelled),
        ("performance.refunding", refunding),
        ("place.granted", turn.clone()),
        ("place.revoked", turn),
        ("slot.freed", slot),
        ("place.left", place),
    ]
}

#[test]
fn what_the_store_leaves_has_a_body_and_reads_back_the_same() {
    for (kind, payload) in left() {
        let event = event(kind, &payload);
        let message = encode(&event);
        assert!(message.body.is_some(), "{kind}");
        assert_eq!(message.unmapped_json, "", "{kind}");
        let read = decode(&message.encode_to_vec()).expect("readable");
        let value: Value = serde_json::from_str(&read.payload).expect("JSON");
        assert_eq!(value, payload, "{kind}");
        assert_eq!(
            read,
            OutboxEvent {
                payload: read.payload.clone(),
                ..event
            }
        );
    }
}

/// Every `append` of the store speaks of a type that has a body.
#[test]
fn every_type_that_is_left_is_in_the_list() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sql");
    let mut kinds = Vec::new();
    let mut dirs = vec![std::path::PathBuf::from(sources)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("sources").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                dirs.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).expect("a source");
                kinds.extend(kinds_in(&text));
            }
        }
    }
    assert!(kinds.len() >= 9, "{kinds:?}");
    for kind in kinds {
        assert!(bodies::encode(&kind, "{}").is_some(), "{kind} has no body");
    }
}

/// Texts like `"payment.succeeded"`, of subjects that events are about.
fn kinds_in(source: &str) -> Vec<String> {
    let subjects = [
        "reservation",
        "payment",
        "ticket",
        "seats",
        "performance",
        "room",
        "activation",
        "slot",
        "place",
        "coupon",
    ];
    let texts = source.split('"');
    let is_kind = |text: &&str| {
        text.split_once('.').is_some_and(|(about, what)| {
            subjects.contains(&about)
                && !what.is_empty()
                && what.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && !["id", "sql", "state"].contains(&what)
        })
    };
    texts.filter(is_kind).map(str::to_owned).collect()
}

#[test]
fn what_a_body_cannot_say_travels_beside_it() {
    let payload = json!({ "room_id": "room", "activation_id": "0b1e", "reason": "merged" });
    let told = [
        ("slot.freed", payload),
        ("order.paid", json!({ "n": 1 })),
        (
            "payment.succeeded",
            json!({ "payment_id": "pay1", "news": true }),
        ),
    ];
    for (kind, payload) in told {
        let event = event(kind, &payload);
        let read = decode(&encode(&event).encode_to_vec()).expect("readable");
        assert_eq!(read, event);
    }
}

#[test]
fn garbage_is_no_event() {
    for bytes in [&b"\xff\xff"[..], b"", b"{}"] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn what_no_database_could_hold_is_unreadable() {
    let fine = encode(&event("seats.held", &json!({})));
    assert!(decode(&fine.encode_to_vec()).is_ok());
    let nul = || "a\0".to_owned();
    for broken in [
        Event {
            id: "x".repeat(65),
            ..fine.clone()
        },
        Event {
            id: nul(),
            ..fine.clone()
        },
        Event {
            aggregate: "x".repeat(256),
            ..fine.clone()
        },
        Event {
            r#type: "x".repeat(65),
            ..fine.clone()
        },
        Event {
            unmapped_json: nul(),
            ..fine.clone()
        },
    ] {
        assert!(decode(&broken.encode_to_vec()).is_err(), "{broken:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_payload_of_any_type_reads_back_the_same(
        kind in "(reservation|payment|seats|slot|place|room|else)\\.(left|freed|held|x)",
        keys in proptest::collection::vec(
            ("(room_id|user_id|reason|lane|place|seat_ids|total|amount|other)", 0..6_u8), 0..6
        ),
    ) {
        let mut payload = json!({});
        for (key, which) in keys {
            payload[key] = match which {
                0 => Value::Null,
                1 => json!(""),
                2 => json!("text"),
                3 => json!(7),
                4 => json!(["a", "b"]),
                _ => json!({ "currency": "EUR", "amount_minor": 1 }),
            };
        }
        let event = event(&kind, &payload);
        let read = decode(&encode(&event).encode_to_vec()).expect("readable");
        let value: Value = serde_json::from_str(&read.payload).expect("JSON");
        prop_assert_eq!(value, payload);
    }
}
