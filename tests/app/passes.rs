//! Passes and place tokens by wire: only the very ones that Usher signed, for
//! their own user and their own purpose.

use std::path::Path;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tonic::Code;
use usher::clock::{Clock as _, SystemClock};
use usher::domain::ids::{ActivationId, PlaceKey, ResourceId, RoomId, UserId};
use usher::domain::time::UnixMs;
use usher::keys::Keys;
use usher::keys::pass::PassClaims;
use usher::keys::place::PlaceClaims;
use usher::keys::ring::KeyRing;
use usher::keys::ticket::TicketClaims;
use usher::proto::v1 as wire;

use crate::call::Call;
use crate::catalogue::{bad_claims, bad_headers, bad_shapes};
use crate::house::{House, rejoin};
use crate::provider::b64;
use crate::whole::{Caller, GET_PLACE, JOIN, WATCH, Whole, watch};

const CLAIM: &str = "/usher.v1.QueueService/Claim";
const LEAVE: &str = "/usher.v1.QueueService/Leave";
/// A pass says its time to others; at home the activation's row decides. Only
/// Usher's key can make a pass that says another time than the row.
const JUDGED_BY_THE_ROW: [&str; 4] = [
    "exp past",
    "exp at the end of the leeway",
    "exp zero",
    "iat future",
];

pub fn place_claims(user: &str, room: &str, now: UnixMs) -> PlaceClaims {
    PlaceClaims {
        room: RoomId::parse(room).expect("a room"),
        place: PlaceKey { lane: 0, number: 1 },
        user: UserId::parse(user).expect("a user"),
        issued_at: now,
    }
}

pub fn pass_claims(user: &str, room: &str, now: UnixMs) -> PassClaims {
    PassClaims {
        user: UserId::parse(user).expect("a user"),
        room: RoomId::parse(room).expect("a room"),
        activation: ActivationId(uuid::Uuid::from_u128(1)),
        issued_at: now,
        expire_time: now.plus_ms(60_000),
    }
}

/// The keys of another installation.
fn foreign_keys(now: UnixMs) -> Keys {
    let ring = KeyRing::generate(now, &|bytes: &mut [u8]| rand::fill(bytes));
    Keys::load(&ring, now).expect("keys")
}

/// The key that signs this server's passes.
struct PassKey {
    kid: String,
    pair: Ed25519KeyPair,
}

impl PassKey {
    fn read(data_dir: &Path) -> Self {
        let text = std::fs::read(data_dir.join("keys.json")).expect("a key file");
        let ring: Value = serde_json::from_slice(&text).expect("JSON");
        let text = |name: &str| ring["pass"][0][name].as_str().expect("text").to_owned();
        let seed = URL_SAFE_NO_PAD.decode(text("secret")).expect("base64url");
        Self {
            kid: text("kid"),
            pair: Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed"),
        }
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "kid": self.kid, "typ": "usher-pass+jwt"})
    }

    fn mint(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }
}

/// What a pass says, as text that can be changed.
fn claims_of(pass: &str) -> Value {
    let payload = pass.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

/// Everything that is no pass of alice's, made from one that is.
fn bad_passes(app: &Whole, good: &str) -> Vec<(String, String)> {
    let key = PassKey::read(app.dir.path());
    let now = SystemClock.now();
    let (header, claims) = (key.header(), claims_of(good));
    // What Usher wrote is what we would write: only one thing is wrong below.
    assert_eq!(claims_of(&key.mint("", &claims.to_string())), claims);
    let mut cases = Vec::new();
    for (name, bad) in bad_headers(&header) {
        cases.push((name.to_owned(), key.mint(&bad, &claims.to_string())));
    }
    let by_claims = bad_claims(&claims, now.0 / 1_000).into_iter();
    for (name, bad) in by_claims.filter(|(name, _)| !JUDGED_BY_THE_ROW.contains(name)) {
        cases.push((name.to_owned(), key.mint(&header.to_string(), &bad)));
    }
    for claim in ["jti", "room_id", "extra"] {
        let mut claims = claims.clone();
        claims[claim] = json!("{*}");
        let pass = key.mint(&header.to_string(), &claims.to_string());
        cases.push((format!("claim {claim}"), pass));
    }
    for (name, bad) in bad_shapes(good) {
        cases.push((name.to_owned(), bad));
    }
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        cases.push((format!("character {at}"), changed));
    }
    let id = |text| ResourceId::parse(text).expect("an id");
    let ticket = TicketClaims {
        performance: id("p"),
        seat: id("A-1"),
        serial: 1,
        reservation: id("r"),
    };
    let user = UserId::parse("alice").expect("a user");
    let place = place_claims("alice", "room", now);
    let foreign = foreign_keys(now)
        .passes
        .sign(&pass_claims("alice", "room", now));
    let ours = [
        ("a ticket code", app.keys.tickets.sign(&ticket)),
        ("a user token", app.keys.issuer.sign(&user, true, now, 60)),
        ("a place token", app.keys.places.sign(&place)),
        ("a pass of another house", foreign),
    ];
    cases.extend(ours.map(|(name, token)| (name.to_owned(), token)));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_pass_gets_one_answer_and_no_seat() {
    let app = Whole::start(&[("USHER_TRANSPORT__HEADER_BYTES_MAX", "262144")]).await;
    let channel = app.channel().await;
    let house = House::build(&app, &Caller::admin(&channel)).await;
    let alice = Caller::named(&channel, "alice");
    let good = house.pass(&alice).await;
    let mut cases = 0;
    for (name, bad) in bad_passes(&app, &good) {
        if http::HeaderValue::from_str(&bad).is_err() && bad.is_ascii() {
            assert_eq!(name, "newline", "all else can be sent");
            continue;
        }
        cases += 1;
        for call in house.calls(&alice) {
            let answer = call.header("x-usher-pass", &bad).send(&channel).await;
            answer.assert_unauthenticated(&name);
        }
    }
    assert!(cases > 200, "{cases}");
    for call in house.calls(&alice.clone().with("x-usher-pass", &good)) {
        let twice = call.header("x-usher-pass", &good).send(&channel).await;
        twice.assert_unauthenticated("twice");
    }
    for call in house.calls(&alice) {
        assert_eq!(call.send(&channel).await.reason(), "PASS_REQUIRED");
    }
    let mallory = Caller::named(&channel, "mallory").with("x-usher-pass", &good);
    for call in house.calls(&mallory) {
        let answer = call.send(&channel).await;
        answer.assert_another_users("mallory");
    }
    // Nothing is held, and the key of the hold was never used.
    let buyer = alice.with("x-usher-pass", &good);
    assert_eq!(house.seats_available(&buyer).await, 4);
    let held: wire::HoldSeatsResponse = house.hold(&buyer).send(&channel).await.ok();
    assert_eq!(held.reservation.expect("one").seats.len(), 1);
    assert_eq!(house.seats_available(&buyer).await, 3);
}

/// Every RPC that reads a place token, with this one.
fn calls_with(caller: &Caller, room: &str, token: &str) -> [Call; 5] {
    let place_token = token.to_owned();
    let get = wire::GetPlaceRequest {
        place_token: place_token.clone(),
    };
    let claim = wire::ClaimRequest {
        place_token: place_token.clone(),
    };
    [
        caller.call(GET_PLACE).message(&get),
        caller.call(CLAIM).message(&claim),
        caller
            .call(LEAVE)
            .message(&wire::LeaveRequest { place_token }),
        caller.call(WATCH).message(&watch(token)),
        caller.call(JOIN).message(&rejoin(room, token)),
    ]
}

/// Everything that is no place token, made from one that is.
fn bad_place_tokens(app: &Whole, good: &str, room: &str) -> Vec<(String, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(good).expect("base64url");
    let mut cases = Vec::new();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        cases.push((format!("bit {bit}"), b64(changed)));
    }
    let now = SystemClock.now();
    let user = UserId::parse("alice").expect("a user");
    let claims = place_claims("alice", room, now);
    let shapes = [
        ("cut", good[..good.len() - 4].to_owned()),
        ("longer", format!("{good}AAAA")),
        ("padded", format!("{good}==")),
        ("space before", format!(" {good}")),
        ("newline behind", format!("{good}\n")),
        ("twice", format!("{good}{good}")),
        ("one character", "A".to_owned()),
        ("not base64", "%%%".to_owned()),
        ("NUL", "\0".to_owned()),
        ("not ASCII", format!("{good}\u{e9}")),
        ("64 KiB", "A".repeat(65_536)),
        ("a JWT", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
    ];
    let ours = [
        ("a user token", app.keys.issuer.sign(&user, true, now, 60)),
        (
            "a pass",
            app.keys.passes.sign(&pass_claims("alice", room, now)),
        ),
        ("a page token", app.keys.pages.sign(&["s"], &bytes, now)),
        ("of another house", foreign_keys(now).places.sign(&claims)),
    ];
    let named = shapes.into_iter().chain(ours);
    cases.extend(named.map(|(name, token)| (name.to_owned(), token)));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_place_token_gets_one_answer_and_moves_nobody() {
    let app = Whole::start(&[("USHER_LIMITS__REQUEST_BYTES_MAX", "262144")]).await;
    let channel = app.channel().await;
    let root = Caller::admin(&channel);
    // Its one slot is taken, so that those who come now stay in line.
    let room = app.make_room(&root, 1).await;
    Caller::named(&channel, "first").join(&room).await;
    let alice = Caller::named(&channel, "alice");
    let joined = alice.join(&room).await;
    let good = joined.place_token;
    for (name, bad) in bad_place_tokens(&app, &good, &room) {
        let [get, calls @ ..] = calls_with(&alice, &room, &bad);
        get.send(&channel).await.assert_unauthenticated(&name);
        // Single bits are told apart in one place; once is enough.
        for call in calls.into_iter().filter(|_| !name.starts_with("bit")) {
            call.send(&channel).await.assert_unauthenticated(&name);
        }
    }
    let mallory = Caller::named(&channel, "mallory");
    for call in calls_with(&mallory, &room, &good) {
        call.send(&channel).await.assert_another_users("mallory");
    }
    for call in calls_with(&alice, &room, "").into_iter().take(4) {
        let answer = call.send(&channel).await;
        assert_eq!(answer.code, Some(Code::InvalidArgument));
    }
    // Alice has not left or moved, and nobody took a number.
    let again = alice.join(&room).await;
    let (before, now) = (joined.place.expect("one"), again.place.expect("one"));
    assert_eq!((now.number, now.state()), (2, before.state()));
    assert_eq!(mallory.number(&room).await, 3);
}
