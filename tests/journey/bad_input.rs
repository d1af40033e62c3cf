//! Bad input, per RPC: the code, the reason, and no effect.

use futures_util::future::BoxFuture;
use tonic::{Code, Response, Status};
use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::people::{User, euros, reason};
use crate::sale::{PRICE_MINOR, concert, performance, policy, span_ms};

type Call = BoxFuture<'static, Result<(), Status>>;

/// Ids and keys that must reach neither a store nor a log.
const HOSTILE: [&str; 11] = [
    " ",
    "a:b",
    "a*",
    "{a}",
    "a\r\nb",
    "a\0b",
    "%s",
    "'--",
    "../x",
    "\u{202e}x",
    "😀",
];

fn hostile() -> Vec<String> {
    let long = [65, 256, 10_240].map(|length| "a".repeat(length));
    let texts = HOSTILE.iter().map(|&text| text.to_owned());
    texts.chain([String::new()]).chain(long).collect()
}

/// What was asked, and how it must be refused.
struct Case {
    name: String,
    call: Call,
    code: Code,
    reason: &'static str,
}

#[derive(Default)]
struct Cases(Vec<Case>);

/// One case: `case!(cases, "name", CODE "REASON", user.client().rpc(message))`.
macro_rules! case {
    ($cases:expr, $name:expr, $code:ident $reason:literal, $user:expr, $client:ident, $rpc:ident, $message:expr) => {{
        let user: User = $user.clone();
        let message = $message;
        $cases.0.push(Case {
            name: format!("{}: {}", stringify!($rpc), $name),
            call: Box::pin(async move {
                let request = user.ask(message);
                user.$client().$rpc(request).await.map(|_: Response<_>| ())
            }),
            code: Code::$code,
            reason: $reason,
        });
    }};
}

impl Cases {
    async fn check(self) {
        for Case {
            name,
            call,
            code,
            reason: expected,
        } in self.0
        {
            let refused = soon(&name, call).await.expect_err(&name);
            let got = (refused.code(), reason(&refused));
            assert_eq!(got, (code, expected.to_owned()), "{name:?}: {refused:?}");
            assert!(refused.message().len() < 300, "{name:?}: no echo");
        }
    }
}

fn hold(performance: &str, seats: &[&str], key: &str) -> wire::HoldSeatsRequest {
    wire::HoldSeatsRequest {
        performance_id: performance.to_owned(),
        seat_ids: seats.iter().map(|&seat| seat.to_owned()).collect(),
        best_available: None,
        idempotency_key: key.to_owned(),
    }
}

fn top_up(currency: &str, amount_minor: i64, key: &str) -> wire::TopUpWalletRequest {
    wire::TopUpWalletRequest {
        amount: Some(wire::Money {
            currency_code: currency.to_owned(),
            amount_minor,
        }),
        source: Some(wire::top_up_wallet_request::Source::Sandbox(
            wire::SandboxSource {},
        )),
        idempotency_key: key.to_owned(),
    }
}

fn pay(reservation: &str, key: &str) -> wire::PayReservationRequest {
    wire::PayReservationRequest {
        reservation_id: reservation.to_owned(),
        method: Some(wire::pay_reservation_request::Method::Wallet(
            wire::WalletSource {},
        )),
        coupon_id: None,
        idempotency_key: key.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_and_keys_are_refused_by_their_field() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let mut cases = Cases::default();
    for text in hostile() {
        let text = text.as_str();
        let id = text.to_owned();
        let join = wire::JoinRequest {
            room_id: id.clone(),
            ..Default::default()
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, queue, join, join);
        let room = wire::GetRoomRequest {
            room_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, queue, get_room, room);
        let concert = wire::GetConcertRequest {
            concert_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, catalog, get_concert, concert);
        let map = wire::GetSeatMapRequest {
            performance_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, catalog, get_seat_map, map);
        let get = wire::GetReservationRequest {
            reservation_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, reservations, get_reservation, get);
        let extend = wire::ExtendHoldRequest {
            reservation_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, reservations, extend_hold, extend);
        let payment = wire::GetPaymentRequest {
            payment_id: id.clone(),
        };
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, payments, get_payment, payment);
        for message in [
            hold(text, &["A-1"], "k"),
            hold("p", &[text], "k"),
            hold("p", &["A-1"], text),
        ] {
            case!(cases, text, InvalidArgument "FIELD_INVALID", alice, reservations, hold_seats, message);
        }
        for message in [pay(text, "k"), pay("res", text)] {
            case!(cases, text, InvalidArgument "FIELD_INVALID", alice, payments, pay_reservation, message);
        }
        case!(cases, text, InvalidArgument "FIELD_INVALID", alice, payments, top_up_wallet, top_up("EUR", 1, text));
    }
    cases.check().await;
    assert_eq!(alice.balance().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_are_not_found_in_one_text() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    let id = || "unknown-1".to_owned();
    let mut cases = Cases::default();
    let join = wire::JoinRequest {
        room_id: id(),
        ..Default::default()
    };
    case!(cases, "room", NotFound "", alice, queue, join, join);
    case!(cases, "room", NotFound "", alice, queue, get_room, wire::GetRoomRequest { room_id: id() });
    case!(cases, "concert", NotFound "", alice, catalog, get_concert, wire::GetConcertRequest { concert_id: id() });
    case!(cases, "performance", NotFound "", alice, catalog, get_seat_map, wire::GetSeatMapRequest { performance_id: id() });
    case!(cases, "performance", NotFound "", alice, reservations, hold_seats, hold("unknown-1", &["A-1"], "k"));
    case!(cases, "reservation", NotFound "", alice, reservations, get_reservation, wire::GetReservationRequest { reservation_id: id() });
    case!(cases, "reservation", NotFound "", alice, reservations, extend_hold, wire::ExtendHoldRequest { reservation_id: id() });
    case!(cases, "reservation", NotFound "", alice, payments, pay_reservation, pay("unknown-1", "k"));
    case!(cases, "payment", NotFound "", alice, payments, get_payment, wire::GetPaymentRequest { payment_id: id() });
    cases.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_passes_and_money_are_refused_by_reason() {
    let app = TestApp::start().await;
    let house = app.build_house(10, policy()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let seats: Vec<_> = map.seats.iter().map(|seat| seat.id.as_str()).collect();
    let here = house.performance.as_str();
    let mut cases = Cases::default();

    case!(cases, "no pass", PermissionDenied "PASS_REQUIRED", alice, reservations, hold_seats, hold(here, &seats[..1], "k"));
    let stranger = app.user("mallory").with_pass(&pass);
    case!(cases, "another's pass", PermissionDenied "TOKEN_USER_MISMATCH", stranger, reservations, hold_seats, hold(here, &seats[..1], "k"));
    for bad in ["x", "a.b.c", ticket.token.as_str()] {
        let forger = alice.clone().with_pass(bad);
        case!(cases, bad, Unauthenticated "", forger, reservations, hold_seats, hold(here, &seats[..1], "k"));
    }
    case!(cases, "none", InvalidArgument "FIELD_INVALID", buyer, reservations, hold_seats, hold(here, &[], "k"));
    case!(cases, "twice", InvalidArgument "FIELD_INVALID", buyer, reservations, hold_seats, hold(here, &[seats[0], seats[0]], "k"));
    case!(cases, "foreign", InvalidArgument "SEAT_NOT_IN_PERFORMANCE", buyer, reservations, hold_seats, hold(here, &[seats[0], "nowhere"], "k"));
    case!(cases, "too many", FailedPrecondition "LIMIT_PER_USER", buyer, reservations, hold_seats, hold(here, &seats[..5], "k"));
    for count in [0, u32::MAX] {
        let message = wire::HoldSeatsRequest {
            best_available: Some(wire::BestAvailable {
                count,
                ..Default::default()
            }),
            ..hold(here, &[], "k")
        };
        case!(cases, count, InvalidArgument "FIELD_INVALID", buyer, reservations, hold_seats, message);
    }
    for amount in [0, -1, i64::MIN, i64::MAX, 10_000_001] {
        case!(cases, amount, InvalidArgument "AMOUNT_OUT_OF_RANGE", alice, payments, top_up_wallet, top_up("EUR", amount, "k"));
    }
    for currency in ["", "eur", "EURO", "E R"] {
        case!(cases, currency, InvalidArgument "FIELD_INVALID", alice, payments, top_up_wallet, top_up(currency, 1, "k"));
    }
    let nothing = wire::TopUpWalletRequest {
        amount: None,
        ..top_up("EUR", 1, "k")
    };
    case!(cases, "no amount", InvalidArgument "FIELD_INVALID", alice, payments, top_up_wallet, nothing);
    let nowhere = wire::TopUpWalletRequest {
        source: None,
        ..top_up("EUR", 1, "k")
    };
    case!(cases, "no source", InvalidArgument "FIELD_INVALID", alice, payments, top_up_wallet, nowhere);
    for token in ["x", "eyJ9", &"A".repeat(5_000)] {
        let page = wire::ListReservationsRequest {
            page_size: -1,
            page_token: token.to_owned(),
        };
        case!(cases, "page token", InvalidArgument "PAGE_TOKEN_INVALID", alice, reservations, list_reservations, page);
    }
    for span in [
        span_ms_negative(),
        prost_types::Duration {
            seconds: i64::MAX,
            nanos: 0,
        },
    ] {
        let watch = wire::WatchRequest {
            place_token: ticket.token.clone(),
            max_duration: Some(span),
            ..Default::default()
        };
        case!(cases, "max_duration", InvalidArgument "FIELD_INVALID", alice, queue, watch, watch);
    }
    cases.check().await;
    // Nothing had an effect: all seats are free, no money is there.
    let map = buyer.seat_map(here).await.expect("seats");
    assert!(
        map.seats
            .iter()
            .all(|seat| seat.state() == wire::SeatState::Available)
    );
    assert_eq!(alice.balance().await, 0);
    let held = buyer
        .hold(here, &[&map.seats[0].id], "k")
        .await
        .expect("the key is free");
    alice
        .top_up(PRICE_MINOR - 1, "k")
        .await
        .expect("the key is free");
    let poor = alice.pay(&held.id, "k").await.expect_err("one short");
    assert_eq!(reason(&poor), "INSUFFICIENT_FUNDS");
    app.assert_audit_is_clean().await;
}

fn span_ms_negative() -> prost_types::Duration {
    prost_types::Duration {
        seconds: -1,
        nanos: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_held_to_the_rules_too() {
    let app = TestApp::start().await;
    let (alice, root) = (app.user("alice"), app.admin());
    let room = app.make_room("room", policy()).await;
    let mut cases = Cases::default();
    let make = |policy| wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: "room".to_owned(),
            policy: Some(policy),
            ..Default::default()
        }),
        idempotency_key: "bad".to_owned(),
    };
    case!(cases, "no role", PermissionDenied "ROLE_REQUIRED", alice, operator, create_room, make(policy()));
    let close = wire::CloseRoomRequest {
        room_id: room.clone(),
        message: None,
    };
    case!(cases, "no role", PermissionDenied "ROLE_REQUIRED", alice, operator, close_room, close);
    for policy in [
        wire::RoomPolicy {
            rate: 0.0,
            ..policy()
        },
        wire::RoomPolicy {
            rate: -1.0,
            ..policy()
        },
        wire::RoomPolicy {
            rate: f64::NAN,
            ..policy()
        },
        wire::RoomPolicy {
            rate: f64::INFINITY,
            ..policy()
        },
        wire::RoomPolicy {
            capacity: u32::MAX,
            ..policy()
        },
        wire::RoomPolicy {
            max_waiting: u64::MAX,
            ..policy()
        },
        wire::RoomPolicy {
            pass_ttl: span_ms(1),
            ..policy()
        },
        wire::RoomPolicy {
            pass_ttl: Some(span_ms_negative()),
            ..policy()
        },
        wire::RoomPolicy {
            order: 99,
            ..policy()
        },
        wire::RoomPolicy {
            order: wire::RoomOrder::Draw.into(),
            ..policy()
        },
    ] {
        let name = format!("{policy:?}");
        case!(cases, name, InvalidArgument "FIELD_INVALID", root, operator, create_room, make(policy));
    }
    let update = |etag: &str, paths: &[&str]| wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room.clone(),
            policy: Some(policy()),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        etag: etag.to_owned(),
    };
    case!(cases, "stale", Aborted "CONFLICT", root, operator, update_room, update("999999", &["policy.capacity"]));
    case!(cases, "no etag", InvalidArgument "FIELD_INVALID", root, operator, update_room, update("", &["policy.capacity"]));
    case!(cases, "no mask", InvalidArgument "FIELD_INVALID", root, operator, update_room, update("1", &[]));
    case!(cases, "unknown path", InvalidArgument "FIELD_INVALID", root, operator, update_room, update("1", &["policy.drop"]));
    let pause = |resumes_at: prost_types::Timestamp| wire::PauseRoomRequest {
        room_id: room.clone(),
        message: None,
        resumes_at: Some(resumes_at),
    };
    let at = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
    case!(cases, "a past end", InvalidArgument "FIELD_INVALID", root, operator, pause_room, pause(at(1_600_000_000, 0)));
    case!(cases, "no time", InvalidArgument "FIELD_INVALID", root, operator, pause_room, pause(at(4_000_000_000, -1)));
    let nameless = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: " ".to_owned(),
            ..concert()
        }),
        idempotency_key: "k".to_owned(),
    };
    case!(cases, "nameless", InvalidArgument "FIELD_INVALID", root, operator, create_concert, nameless);
    let nowhere = wire::CreatePerformanceRequest {
        performance: Some(performance("unknown-1", 10)),
        idempotency_key: "k".to_owned(),
    };
    case!(cases, "unknown concert", NotFound "", root, operator, create_performance, nowhere);
    let credit = |amount, reason: &str| wire::CreditWalletRequest {
        user_id: "alice".to_owned(),
        amount: Some(euros(amount)),
        reason: reason.to_owned(),
        idempotency_key: "k".to_owned(),
    };
    case!(cases, "nothing", InvalidArgument "AMOUNT_OUT_OF_RANGE", root, operator, credit_wallet, credit(0, "gift"));
    case!(cases, "no reason", InvalidArgument "FIELD_INVALID", root, operator, credit_wallet, credit(1, " "));
    case!(cases, "no role", PermissionDenied "ROLE_REQUIRED", alice, operator, credit_wallet, credit(1, "gift"));
    cases.check().await;
    assert_eq!(alice.balance().await, 0);
    // The room is as it was: people get in.
    alice.await_pass(&alice.join(&room).await.token).await;
}
