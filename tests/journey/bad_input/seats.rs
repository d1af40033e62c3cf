//! Seats, holds, payments and passes that cannot be had, by what was before.

use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, asking, assert_refused, fields_of};
use super::fields::RESOURCES;
use super::world::{self, World};
use crate::harness::TestApp;
use crate::people::{User, euros};
use crate::sale::{PRICE_MINOR, performance, policy};

const HOLD: &str = "ReservationService/HoldSeats";
const EXTEND: &str = "ReservationService/ExtendHold";
const CANCEL: &str = "ReservationService/CancelReservation";
const PAY: &str = "PaymentService/PayReservation";
const BLOCK: &str = "AdminService/BlockSeats";
const REFUND: &str = "AdminService/RefundPayment";

const FIELD_INVALID: (Code, &str) = (Code::InvalidArgument, "FIELD_INVALID");
const UNAVAILABLE: (Code, &str) = (Code::FailedPrecondition, "SEAT_UNAVAILABLE");
const LIMIT: (Code, &str) = (Code::FailedPrecondition, "LIMIT_PER_USER");
const OUT_OF_RANGE: (Code, &str) = (Code::InvalidArgument, "AMOUNT_OUT_OF_RANGE");
const HOLD_EXPIRED: (Code, &str) = (Code::FailedPrecondition, "HOLD_EXPIRED");
const ALREADY_PAID: (Code, &str) = (Code::AlreadyExists, "ALREADY_PAID");

fn extend(reservation: &str) -> wire::ExtendHoldRequest {
    wire::ExtendHoldRequest {
        reservation_id: reservation.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_that_cannot_be_held_are_refused_by_reason() {
    let world = World::build().await;
    let (root, alice) = (&world.root, world.app.user("alice"));
    let here = world.performance.as_str();
    let seat = |index: usize| world.seats[index].as_str();
    let other = world::make_performance(root, &world.concert, "other").await;
    let soon = wire::Performance {
        sale_opens_at: Some(prost_types::Timestamp {
            seconds: 3_900_000_000,
            nanos: 0,
        }),
        ..performance(&world.concert, 30)
    };
    let over = wire::Performance {
        sale_closes_at: Some(prost_types::Timestamp {
            seconds: 1_100_000_000,
            nanos: 0,
        }),
        ..performance(&world.concert, 30)
    };
    let soon = world::make_performance_as(root, soon, "soon").await;
    let over = world::make_performance_as(root, over, "over").await;
    let blocked = world::block(here, &[seat(19)]);
    asking(root, BLOCK, blocked).await.expect("blocked");
    let before = world.state().await;
    let many: Vec<_> = (0..101).map(|n| format!("s1-r1-{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let of_both = wire::HoldSeatsRequest {
        best_available: Some(wire::BestAvailable {
            count: 1,
            ..Default::default()
        }),
        ..world::hold(here, &[seat(9)], "bad")
    };
    let wish = |section: &str, count| {
        let wish = wire::BestAvailable {
            count,
            section: Some(section.to_owned()),
            adjacent: Some(true),
            max_price: None,
        };
        world::best(here, wish)
    };
    let sold_out = (Code::FailedPrecondition, "SOLD_OUT");
    let not_open = (Code::FailedPrecondition, "SALE_NOT_OPEN");
    let not_there = (Code::InvalidArgument, "SEAT_NOT_IN_PERFORMANCE");
    let rows = [
        ("none", world::hold(here, &[], "bad"), FIELD_INVALID),
        (
            "one twice",
            world::hold(here, &[seat(9), seat(8), seat(9)], "bad"),
            FIELD_INVALID,
        ),
        ("101", world::hold(here, &many, "bad"), FIELD_INVALID),
        ("named, and any", of_both, FIELD_INVALID),
        (
            "one of elsewhere",
            world::hold(here, &[seat(9), "s9-r9-9"], "bad"),
            not_there,
        ),
        (
            "held by root",
            world::hold(here, &[seat(9), seat(0)], "bad"),
            UNAVAILABLE,
        ),
        ("sold", world::hold(here, &[seat(1)], "bad"), UNAVAILABLE),
        (
            "blocked",
            world::hold(here, &[seat(19)], "bad"),
            UNAVAILABLE,
        ),
        (
            "not open yet",
            world::hold(&soon, &[seat(9)], "bad"),
            not_open,
        ),
        (
            "not open any more",
            world::hold(&over, &[seat(9)], "bad"),
            not_open,
        ),
        (
            "more than one may",
            world::best(
                here,
                wire::BestAvailable {
                    count: 21,
                    ..Default::default()
                },
            ),
            LIMIT,
        ),
        ("no such section", wish("Balcony", 1), FIELD_INVALID),
        ("a pattern for a section", wish("%", 1), FIELD_INVALID),
        ("so many in a row", wish("Stalls", 18), sold_out),
    ];
    for (what, message, expected) in rows {
        for user in [root, &alice] {
            let answer = asking(user, HOLD, message.clone()).await;
            assert_refused(answer, expected, what);
        }
    }
    let named = asking(
        &alice,
        HOLD,
        world::hold(here, &[seat(9), seat(0), seat(1)], "bad"),
    )
    .await;
    let status = assert_refused(named, UNAVAILABLE, "some");
    let mut fields = fields_of(&status);
    fields.sort();
    let taken = [seat(0), seat(1)].map(|seat| format!("seat_ids[{seat}]"));
    assert_eq!(fields, taken, "the refusal names the seats");
    // A hundred thousand are longer than a request may be.
    let very_many = vec!["s1-r1-1"; 100_000];
    let answer = asking(&alice, HOLD, world::hold(here, &very_many, "bad")).await;
    assert_refused(answer, (Code::OutOfRange, ""), "100,000");
    world.assert_unchanged(&before).await;
    // All or none: the free one is free in the other house and in this one.
    alice
        .hold(here, &[seat(9)], "bad")
        .await
        .expect("free, and so is the key");
    alice.hold(&other, &[seat(0)], "other").await.expect("free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_and_payments_are_refused_by_what_was_before() {
    let world = World::build().await;
    let root = &world.root;
    let (held, paid) = (world.held.as_str(), world.paid.as_str());
    let poor = (Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
    let answer = asking(root, PAY, world::pay(held, "poor")).await;
    assert_refused(answer, poor, "one cent is left");
    asking(root, EXTEND, extend(held)).await.expect("once");
    let again = asking(root, EXTEND, extend(held)).await;
    assert_refused(
        again,
        (Code::FailedPrecondition, "EXTENSION_LIMIT"),
        "twice",
    );
    assert_refused(
        asking(root, EXTEND, extend(paid)).await,
        ALREADY_PAID,
        "what is paid",
    );
    let answer = asking(root, PAY, world::pay(paid, "again")).await;
    assert_refused(answer, ALREADY_PAID, "under another key");

    let refund = |amount_minor, key: &str| wire::RefundPaymentRequest {
        amount: Some(euros(amount_minor)),
        ..world::refund(&world.payment, key)
    };
    let answer = asking(root, REFUND, refund(PRICE_MINOR + 1, "more")).await;
    assert_refused(answer, OUT_OF_RANGE, "more than was paid");
    let parts = (0..3).map(|n| asking(root, REFUND, refund(PRICE_MINOR / 2, &format!("part-{n}"))));
    let parts = futures_util::future::join_all(parts).await;
    let given = parts.iter().filter(|part| part.is_ok()).count();
    assert_eq!(given, 2, "in parallel, never more than was paid");
    for refused in parts.into_iter().filter(Result::is_err) {
        assert_refused(refused, OUT_OF_RANGE, "the third half");
    }
    let rest = wire::RefundPaymentRequest {
        amount: None,
        ..world::refund(&world.payment, "rest")
    };
    let answer = asking(root, REFUND, rest).await;
    assert_refused(answer, OUT_OF_RANGE, "nothing is left");
    assert_eq!(root.balance().await, PRICE_MINOR + 1);

    let block = asking(
        root,
        BLOCK,
        world::block(&world.performance, &[&world.seats[0]]),
    )
    .await;
    assert_refused(block, UNAVAILABLE, "block what is held");
    let twice = world::block(&world.performance, &[&world.seats[9], &world.seats[9]]);
    assert_refused(
        asking(root, BLOCK, twice).await,
        FIELD_INVALID,
        "block twice",
    );

    root.cancel(held, "cancel").await.expect("given back");
    let answer = asking(root, PAY, world::pay(held, "late")).await;
    assert_refused(answer, HOLD_EXPIRED, "pay what was given back");
    assert_refused(
        asking(root, EXTEND, extend(held)).await,
        HOLD_EXPIRED,
        "extend it",
    );
    let again = root.cancel(held, "cancel-2").await.expect("as wished");
    assert_eq!(again.refunded, None);
    root.cancel(paid, "cancel-3").await.expect("given back");
    let answer = asking(root, PAY, world::pay(paid, "late-2")).await;
    assert!(answer.is_err(), "pay what was paid and given back");
    assert_eq!(root.balance().await, PRICE_MINOR + 1, "refunded before");
    world.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_someone_elses_is_as_unknown() {
    let world = World::build().await;
    let before = world.state().await;
    let mallory = world.app.user("mallory");
    let of_owner = [
        EXTEND,
        CANCEL,
        PAY,
        "ReservationService/GetReservation",
        "PaymentService/GetPayment",
    ];
    let fields: Vec<_> = RESOURCES
        .iter()
        .filter(|field| of_owner.contains(&field.rpc))
        .collect();
    assert_eq!(fields.len(), of_owner.len());
    for field in fields {
        let of = |id: &str| ask(&mallory, field.rpc, (field.message)(&world, id.to_owned()));
        let id = match field.path {
            "payment_id" => &world.payment,
            _ => &world.held,
        };
        let unknown = of("unknown-1").await.expect_err("unknown");
        let foreign = of(id).await.expect_err("not hers");
        assert_eq!(foreign.code(), Code::NotFound, "{}", field.rpc);
        assert_eq!(foreign.message(), unknown.message(), "{}", field.rpc);
        assert_eq!(foreign.details(), unknown.details(), "{}", field.rpc);
    }
    for rpc in [
        "ReservationService/ListReservations",
        "PaymentService/ListWalletEntries",
    ] {
        let hers = ask(&mallory, rpc, Vec::new()).await.expect("a page");
        assert!(hers.is_empty(), "{rpc}: nothing of others");
    }
    world.assert_unchanged(&before).await;
}

/// Each RPC that asks for a pass.
fn guarded(user: &User, here: &str, seat: &str, key: &str) -> [(&'static str, super::Answer); 3] {
    let map = wire::GetSeatMapRequest {
        performance_id: here.to_owned(),
    };
    let watch = wire::WatchSeatMapRequest {
        performance_id: here.to_owned(),
        resume_cursor: None,
    };
    [
        ("the map", asking(user, "CatalogService/GetSeatMap", map)),
        (
            "the map's stream",
            asking(user, "CatalogService/WatchSeatMap", watch),
        ),
        (
            "a hold",
            asking(user, HOLD, world::hold(here, &[seat], key)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_that_are_none_are_refused_by_reason() {
    let app = TestApp::start().await;
    let house = app.build_house(10, policy()).await;
    let elsewhere = app.make_room("elsewhere", policy()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let other = bob.await_pass(&bob.join(&elsewhere).await.token).await;
    let long = "A".repeat(8_000);
    let denied = |reason| (Code::PermissionDenied, reason);
    let none = (Code::Unauthenticated, "");
    let rows = [
        ("no pass", alice.clone(), denied("PASS_REQUIRED")),
        (
            "of another room",
            bob.clone().with_pass(&other),
            denied("PASS_WRONG_ROOM"),
        ),
        (
            "another's",
            bob.clone().with_pass(&pass),
            denied("TOKEN_USER_MISMATCH"),
        ),
        ("empty", alice.clone().with_pass(""), none),
        ("two", alice.clone().with_pass(&pass).with_pass(&pass), none),
        ("not one", alice.clone().with_pass("a.b.c"), none),
        (
            "cut off",
            alice.clone().with_pass(&pass[..pass.len() - 1]),
            none,
        ),
        (
            "a place token",
            alice.clone().with_pass(&ticket.token),
            none,
        ),
        ("very long", alice.clone().with_pass(&long), none),
    ];
    let (here, seat) = (house.performance.as_str(), "s1-r1-1");
    for (what, user, expected) in rows {
        for (rpc, answer) in guarded(&user, here, seat, "bad") {
            assert_refused(answer.await, expected, &format!("{rpc}, {what}"));
        }
    }
    let buyer = alice.clone().with_pass(&pass);
    buyer.seat_map(here).await.expect("a pass that is one");
    alice.leave(&ticket.token).await.expect("left");
    for (rpc, answer) in guarded(&buyer, here, seat, "bad") {
        let ended = (Code::FailedPrecondition, "PASS_ENDED");
        assert_refused(answer.await, ended, &format!("{rpc}, after leaving"));
    }
    let carol = app.user("carol");
    let pass = carol.await_pass(&carol.join(&house.room).await.token).await;
    let buyer = carol.with_pass(&pass);
    let map = buyer.seat_map(here).await.expect("seats");
    let is_free = |seat: &wire::Seat| seat.state() == wire::SeatState::Available;
    assert!(map.seats.iter().all(is_free), "nothing had an effect");
    buyer
        .hold(here, &[seat], "bad")
        .await
        .expect("the key is free");
    app.assert_audit_is_clean().await;
}
