use serde_json::{Value, json};

use super::*;
use crate::domain::ids::{PlaceKey, RoomId, UserId};
use crate::domain::time::UnixMs;
use crate::entropy::{Entropy as _, SeededEntropy};
use crate::keys::Keys;
use crate::keys::place::PlaceClaims;
use crate::keys::ring::KeyRing;

const SECRET: [u8; 32] = [42; 32];
const N: u64 = 1_000_000;
const NUMBER: u64 = 123_456;

/// What `GetRoom` publishes of a drawn room.
fn published() -> Value {
    json!({
        "room": {
            "id": "opening-night",
            "name": "Opening night",
            "state": "ROOM_STATE_OPEN",
            "draw": {
                "commitment": STANDARD.encode(draw::commitment(&SECRET)),
                "participants": [
                    { "lane": "default", "count": N.to_string() },
                    { "lane": "members", "count": 500 },
                ],
                "beacon": { "description": "tomorrow's lottery", "value": "4 8 15 16 23 42" },
                "secret": STANDARD.encode(SECRET),
            },
        },
    })
}

fn drawn(lane: &str, n: u64, number: u64) -> u64 {
    let seed = draw::seed(&SECRET, "opening-night", lane, n, Some("4 8 15 16 23 42"));
    draw::Permutation::new(&seed, n).order(number)
}

fn first_lane(number: u64) -> Place {
    Place::Number { lane: None, number }
}

fn verdict(room: &Value, claimed: u64) -> Result<Verified, VerifyError> {
    verify(&room.to_string(), &first_lane(NUMBER), Some(claimed))
}

/// A published room with one value changed.
fn altered(pointer: &str, value: Value) -> Value {
    let mut room = published();
    *room.pointer_mut(pointer).expect("a field") = value;
    room
}

#[test]
fn the_drawn_order_is_verified_from_published_data() {
    let order = drawn("default", N, NUMBER);
    let found = verdict(&published(), order).expect("verified");
    assert_eq!((found.number, found.order, found.n), (NUMBER, order, N));
    let bare = published()["room"].clone();
    assert_eq!(verdict(&bare, order), Ok(found));
    let unclaimed = verify(&published().to_string(), &first_lane(NUMBER), None);
    assert_eq!(unclaimed.expect("verified").order, order);
}

#[test]
fn each_altered_value_is_a_mismatch() {
    let order = drawn("default", N, NUMBER);
    let secret = altered("/room/draw/secret", json!(STANDARD.encode([41; 32])));
    assert_eq!(
        verdict(&secret, order),
        Err(VerifyError::Mismatch(DrawMismatch::Secret))
    );
    let commitment = altered("/room/draw/commitment", json!(STANDARD.encode([1; 32])));
    assert_eq!(
        verdict(&commitment, order),
        Err(VerifyError::Mismatch(DrawMismatch::Secret))
    );
    for other in [
        altered("/room/draw/participants/0/count", json!(N - 1)),
        altered("/room/draw/beacon/value", json!("4 8 15 16 23 43")),
        altered("/room/draw/beacon", Value::Null),
        altered("/room/id", json!("opening-day")),
        altered("/room/draw/participants/0/lane", json!("members")),
    ] {
        let told = verdict(&other, order);
        assert!(
            matches!(told, Err(VerifyError::Mismatch(DrawMismatch::Order { .. }))),
            "{told:?}"
        );
    }
    for claimed in [order - 1, order + 1, N + 1, 0] {
        let told = verdict(&published(), claimed);
        assert!(matches!(told, Err(VerifyError::Mismatch(_))), "{told:?}");
    }
    let other_number = verify(
        &published().to_string(),
        &first_lane(NUMBER + 1),
        Some(order),
    );
    assert!(matches!(other_number, Err(VerifyError::Mismatch(_))));
}

#[test]
fn a_token_names_lane_and_number() {
    let now = UnixMs(1_700_000_000_000);
    let entropy = SeededEntropy::new(1);
    let ring = KeyRing::generate(now, &|bytes: &mut [u8]| entropy.fill(bytes));
    let keys = Keys::load(&ring, now).expect("keys");
    let token = |room: &str, lane| {
        keys.places.sign(&PlaceClaims {
            room: RoomId::parse(room).expect("room"),
            place: PlaceKey { lane, number: 77 },
            user: UserId::parse("alice").expect("user"),
            issued_at: now,
        })
    };
    let order = drawn("members", 500, 77);
    let told = |token: String, claimed| {
        verify(
            &published().to_string(),
            &Place::Token(token),
            Some(claimed),
        )
    };
    let found = told(token("opening-night", 1), order).expect("verified");
    assert_eq!((found.lane.as_str(), found.order), ("members", order));
    assert!(matches!(
        told(token("another-room", 1), order),
        Err(VerifyError::OtherRoom { .. })
    ));
    assert!(matches!(
        told(token("opening-night", 2), order),
        Err(VerifyError::UnknownLane(_))
    ));
    assert!(matches!(
        told("no token".to_owned(), order),
        Err(VerifyError::Token(_))
    ));
}

#[test]
fn before_the_order_is_fixed_nothing_can_be_verified() {
    let hidden = altered("/room/draw/secret", Value::Null);
    assert_eq!(verdict(&hidden, 1), Err(VerifyError::NotDrawn));
    let unopened = altered("/room/draw/participants", json!([]));
    assert_eq!(verdict(&unopened, 1), Err(VerifyError::NotDrawn));
}

#[test]
fn what_is_no_room_is_refused() {
    let short = altered("/room/draw/secret", json!(STANDARD.encode([1; 31])));
    for json in ["", "{}", "[]", &short.to_string()] {
        let told = verify(json, &first_lane(1), None);
        assert!(matches!(told, Err(VerifyError::NotARoom(_))), "{told:?}");
    }
}
