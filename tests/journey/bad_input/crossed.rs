//! Every field crossed with what must never be taken there.

use std::fmt::Debug;

use prost_types::{Duration, Timestamp};
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, assert_refused, fields_of};
use super::fields::{self, Field, catalog, coupons, money, rooms};
use super::world::World;

const FIELD_INVALID: (Code, &str) = (Code::InvalidArgument, "FIELD_INVALID");

/// Ids and keys that must reach neither a store nor a log.
const HOSTILE: [&str; 19] = [
    " ",
    "\t",
    "a b",
    "a:b",
    "a*",
    "{a}",
    "}{",
    "a\r\nb",
    "a\0b",
    "%s",
    "%00",
    "'--",
    "';DROP TABLE seats;--",
    "../x",
    "a/b",
    "a\\b",
    "\u{202e}x",
    "e\u{301}",
    "😀",
];

pub fn hostile() -> impl Iterator<Item = String> {
    let long = [65, 256, 10_240].map(|length| "a".repeat(length));
    HOSTILE.into_iter().map(str::to_owned).chain(long)
}

fn hostile_or_empty() -> Vec<String> {
    hostile().chain([String::new()]).collect()
}

/// Free text that a terminal, a log or a page would not bear.
fn dirty() -> Vec<String> {
    let texts = ["\0", "a\u{7}b", "\u{1b}[31m", "a\r\nb", "\u{9b}x"].map(str::to_owned);
    texts.into_iter().chain(["a".repeat(10_240)]).collect()
}

fn dirty_or_blank() -> Vec<String> {
    let blank = ["", " ", "\n", "\u{a0}"].map(str::to_owned);
    dirty().into_iter().chain(blank).collect()
}

fn moments() -> Vec<Timestamp> {
    [
        (0, -1),
        (0, 1_000_000_000),
        (0, i32::MAX),
        (0, i32::MIN),
        (-1, 0),
        (-62_135_596_800, 0),
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
    ]
    .map(|(seconds, nanos)| Timestamp { seconds, nanos })
    .into()
}

fn spans() -> Vec<Duration> {
    [
        (-1, 0),
        (0, -1),
        (1, -1),
        (-1, 1),
        (0, 1_000_000_000),
        (0, i32::MAX),
        (315_576_000_001, 0),
        (i64::MAX, 999_999_999),
        (i64::MIN, i32::MIN),
    ]
    .map(|(seconds, nanos)| Duration { seconds, nanos })
    .into()
}

impl World {
    async fn refuses(&self, rpc: &str, path: &str, message: Vec<u8>, what: &str) {
        let answer = ask(&self.root, rpc, message).await;
        let status = assert_refused(answer, FIELD_INVALID, &format!("{rpc} {path} = {what}"));
        assert_eq!(fields_of(&status), [path], "{rpc} {path} = {what}");
    }

    /// Each field with each value is FIELD_INVALID and names the field.
    pub async fn refuses_all<T: Clone + Debug>(&self, table: &[Field<T>], values: &[T]) {
        for field in table {
            for value in values {
                let message = (field.message)(self, value.clone());
                let what = format!("{value:.40?}");
                self.refuses(field.rpc, field.path, message, &what).await;
            }
        }
    }

    /// As [`World::refuses_all`], for the policy of a room.
    async fn refuses_policies<T: Clone + Debug>(
        &self,
        table: &[rooms::PolicyField<T>],
        values: &[T],
    ) {
        for field in table {
            for value in values {
                for (rpc, message) in field.messages(self, value.clone()) {
                    let what = format!("{value:.40?}");
                    self.refuses(rpc, field.path, message, &what).await;
                }
            }
        }
    }

    /// Each field with each value gets this code and reason.
    pub async fn answers_all<T: Clone + Debug>(
        &self,
        table: &[Field<T>],
        values: &[T],
        expected: (Code, &str),
    ) {
        for field in table {
            for value in values {
                let message = (field.message)(self, value.clone());
                let answer = ask(&self.root, field.rpc, message).await;
                let what = format!("{} {} = {value:.40?}", field.rpc, field.path);
                assert_refused(answer, expected, &what);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_and_keys_are_refused_by_their_field() {
    let world = World::build().await;
    let before = world.state().await;
    let texts = hostile_or_empty();
    world.refuses_all(fields::RESOURCES, &texts).await;
    world.refuses_all(fields::KEYS, &texts).await;
    let one_each: Vec<_> = texts.iter().map(|text| vec![text.clone()]).collect();
    world.refuses_all(fields::SEATS, &one_each).await;
    world.refuses_all(fields::OWN_SEATS, &one_each).await;
    let (own, other) = (world.seats[1].clone(), world.seats[0].clone());
    let not_these = [
        vec![other.clone()],
        vec![own.clone(), other],
        vec![own.clone(), own],
        vec!["unknown-1".to_owned()],
        (0..101).map(|n| format!("s1-r1-{n}")).collect(),
    ];
    world.refuses_all(fields::OWN_SEATS, &not_these).await;
    world.refuses_policies(rooms::TARGETS, &texts).await;
    // Providers of identities use ':' and '@' too.
    let users: Vec<_> = texts.into_iter().filter(|text| text != "a:b").collect();
    let users: Vec<_> = users
        .into_iter()
        .filter(|text| !(64..=128).contains(&text.len()))
        .collect();
    world.refuses_all(fields::USERS, &users).await;
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_is_not_found_in_one_text() {
    let world = World::build().await;
    let before = world.state().await;
    for field in fields::RESOURCES {
        let message = (field.message)(&world, "unknown-1".to_owned());
        let answer = ask(&world.root, field.rpc, message).await;
        let status = assert_refused(answer, (Code::NotFound, ""), field.rpc);
        assert_eq!(status.message(), "not found", "{}", field.rpc);
    }
    let unknown = [vec!["unknown-1".to_owned()]];
    let expected = (Code::InvalidArgument, "SEAT_NOT_IN_PERFORMANCE");
    world.answers_all(fields::SEATS, &unknown, expected).await;
    for field in rooms::TARGETS {
        for (rpc, message) in field.messages(&world, "unknown-1".to_owned()) {
            // A stale etag is seen first: nothing was decided about the target.
            let expected = match rpc {
                "AdminService/UpdateRoom" => (Code::Aborted, "CONFLICT"),
                _ => FIELD_INVALID,
            };
            assert_refused(ask(&world.root, rpc, message).await, expected, field.path);
        }
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_foreign_place_tokens_are_refused_in_one_text_each() {
    let world = World::build().await;
    let before = world.state().await;
    let mut forged: Vec<_> = hostile().collect();
    let token = &world.place_token;
    for at in [0, token.len() / 2, token.len() - 1] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(changed).expect("ASCII"));
    }
    forged.push(token[..token.len() - 1].to_owned());
    forged.push(format!("{token}A"));
    forged.push(format!("{token}="));
    forged.push("A".repeat(60_000));
    for field in fields::PLACE_TOKENS {
        for text in &forged {
            let message = (field.message)(&world, text.clone());
            let answer = ask(&world.root, field.rpc, message).await;
            let what = format!("{} {text:.40?}", field.rpc);
            let status = assert_refused(answer, (Code::Unauthenticated, ""), &what);
            assert_eq!(
                status.message(),
                "credentials are missing or not valid",
                "{what}"
            );
        }
        let foreign = world.app.user("mallory");
        let answer = ask(&foreign, field.rpc, (field.message)(&world, token.clone())).await;
        let expected = (Code::PermissionDenied, "TOKEN_USER_MISMATCH");
        assert_refused(answer, expected, field.rpc);
    }
    // An empty one is a field that is not set; Join needs none.
    let needed: Vec<_> = fields::PLACE_TOKENS[1..].iter().collect();
    for field in needed {
        let message = (field.message)(&world, String::new());
        world.refuses(field.rpc, field.path, message, "empty").await;
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_and_currencies_are_refused_by_reason() {
    let world = World::build().await;
    let before = world.state().await;
    let of = |code: &str, amount_minor| {
        Some(wire::Money {
            currency_code: code.to_owned(),
            amount_minor,
        })
    };
    let out_of_range = (Code::InvalidArgument, "AMOUNT_OUT_OF_RANGE");
    // More than the cap of a top-up, of a wallet, and of what was paid.
    let amounts = [0, -1, i64::MIN, i64::MAX, i64::MAX - 1, 1_000_000_001];
    let amounts = amounts.map(|amount| of("EUR", amount));
    world
        .answers_all(money::AMOUNTS, &amounts, out_of_range)
        .await;
    world
        .answers_all(&money::AMOUNTS[..1], &[of("EUR", 10_000_001)], out_of_range)
        .await;
    let codes = [
        "", "eur", "Eur", "EU", "EURO", "XXX", "ZZZ", "E R", "E\0R", "€", "'--",
    ];
    let unknown = codes.map(|code| of(code, 1));
    for table in [money::AMOUNTS, money::PRICES, money::BOUNDS] {
        world.refuses_all(table, &unknown).await;
    }
    let codes: Vec<_> = codes
        .into_iter()
        .chain(["JPY", "KWD"])
        .map(str::to_owned)
        .collect();
    world.refuses_all(money::CURRENCIES, &codes).await;
    let mismatch = (Code::InvalidArgument, "CURRENCY_MISMATCH");
    for table in [money::AMOUNTS, money::BOUNDS] {
        let others = [of("JPY", 1), of("KWD", 1_000), of("USD", 1)];
        world.answers_all(table, &others, mismatch).await;
    }
    let prices = [0, -1, i64::MIN, i64::MAX, 1_000_000_000_001].map(|price| of("EUR", price));
    world.refuses_all(money::PRICES, &prices).await;
    world.refuses_all(money::PRICES, &[None]).await;
    // What is left of a payment is what an unset refund means.
    world.refuses_all(&money::AMOUNTS[..2], &[None]).await;
    // No seat costs nothing or less.
    let nothing = [of("EUR", 0), of("EUR", -1), of("EUR", i64::MIN)];
    let sold_out = (Code::FailedPrecondition, "SOLD_OUT");
    world.answers_all(money::BOUNDS, &nothing, sold_out).await;
    world.assert_unchanged(&before).await;
    assert_eq!(world.app.user("alice").balance().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_numbers_and_choices_that_cannot_be_are_refused_by_their_field() {
    let world = World::build().await;
    let before = world.state().await;
    world.refuses_policies(rooms::MOMENTS, &moments()).await;
    world.refuses_all(catalog::MOMENTS, &moments()).await;
    world.refuses_all(coupons::MOMENTS, &moments()).await;
    let past = Timestamp {
        seconds: 1_000_000_000,
        nanos: 0,
    };
    let not_to_come: Vec<_> = moments().into_iter().chain([past]).collect();
    world.refuses_all(catalog::FUTURE, &not_to_come).await;
    world.refuses_policies(rooms::SPANS, &spans()).await;
    world.refuses_all(catalog::SPANS, &spans()).await;
    let unknown = [99, -1, i32::MAX, i32::MIN];
    world.refuses_policies(rooms::CHOICES, &unknown).await;
    world.refuses_all(catalog::CHOICES, &unknown).await;
    for (field, values) in rooms::NUMBERS {
        world
            .refuses_policies(std::slice::from_ref(field), values)
            .await;
    }
    for (field, values) in catalog::NUMBERS {
        world.refuses_all(std::slice::from_ref(field), values).await;
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dirty_texts_and_blank_names_are_refused_by_their_field() {
    let world = World::build().await;
    let before = world.state().await;
    world.refuses_all(catalog::NAMES, &dirty_or_blank()).await;
    world.refuses_all(coupons::NAMES, &dirty_or_blank()).await;
    world.refuses_all(catalog::TEXTS, &dirty()).await;
    world
        .refuses_all(rooms::ROOM_NAMES, &dirty_or_blank())
        .await;
    world
        .refuses_policies(rooms::NAMES, &dirty_or_blank())
        .await;
    world.refuses_policies(rooms::TEXTS, &dirty()).await;
    world.refuses_all(rooms::MESSAGES, &dirty()).await;
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_be_set_is_missed_by_its_field() {
    let world = World::build().await;
    let before = world.state().await;
    world.refuses_all(catalog::UNSET, &[()]).await;
    let masks: [&[&str]; 8] = [
        &[],
        &[""],
        &["*"],
        &["id"],
        &["state"],
        &["policy.lane"],
        &["Policy"],
        &["name", "policy.drop"],
    ];
    let masks = masks.map(|paths| paths.iter().map(|&path| path.to_owned()).collect());
    world.refuses_all(rooms::MASKS, &masks).await;
    let etags = ["", "x", "-1", "1 ", "1e3", "18446744073709551616", "\0"].map(str::to_owned);
    world.refuses_all(rooms::ETAGS, &etags).await;
    let stale = ["0", "999999", "18446744073709551615"].map(str::to_owned);
    let conflict = (Code::Aborted, "CONFLICT");
    world.answers_all(rooms::ETAGS, &stale, conflict).await;
    world.assert_unchanged(&before).await;
}
