//! Seats given back one by one, and tickets at the gate.

use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use wire::ReservationState;

use crate::bad_input::world;
use crate::harness::{TestApp, soon};
use crate::people::{User, euros, reason};
use crate::sale::PRICE_MINOR;

/// A performance without a room, and some of its seats bought by `alice`.
struct Sold {
    app: TestApp,
    root: User,
    alice: User,
    performance: String,
    seats: Vec<String>,
    reservation: wire::Reservation,
}

async fn sell(seats: usize) -> Sold {
    let app = TestApp::start().await;
    let root = app.admin();
    let concert = world::make_concert(&root, "concert").await;
    let performance = world::make_performance(&root, &concert, "performance").await;
    let alice = app.user("alice");
    let all = world::seats_of(&alice, &performance).await;
    let named: Vec<&str> = all[..seats].iter().map(String::as_str).collect();
    let held = alice.hold(&performance, &named, "hold").await;
    let held = held.expect("held");
    let price = PRICE_MINOR * i64::try_from(seats).expect("few");
    alice.top_up(price, "money").await.expect("money");
    alice.pay(&held.id, "pay").await.expect("paid");
    let reservation = alice.reservation(&held.id).await;
    Sold {
        app,
        root,
        alice,
        performance,
        seats: all,
        reservation,
    }
}

impl Sold {
    async fn redeem(&self, code: &str) -> Result<wire::RedeemTicketResponse, Status> {
        let request = self.root.ask(wire::RedeemTicketRequest {
            code: code.to_owned(),
        });
        let answer = soon("the gate", self.root.operator().redeem_ticket(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn give_back(
        &self,
        seats: &[&str],
        key: &str,
    ) -> Result<wire::CancelReservationResponse, Status> {
        let request = self.alice.ask(wire::CancelReservationRequest {
            reservation_id: self.reservation.id.clone(),
            seat_ids: seats.iter().map(|&seat| seat.to_owned()).collect(),
            idempotency_key: key.to_owned(),
        });
        let answer = self.alice.reservations().cancel_reservation(request).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn voided(&self, since: Option<prost_types::Timestamp>) -> Vec<wire::VoidedTicket> {
        let request = self.root.ask(wire::ListVoidedTicketsRequest {
            performance_id: self.performance.clone(),
            since,
            page_size: 100,
            page_token: String::new(),
        });
        let answer = self.root.operator().list_voided_tickets(request).await;
        answer.expect("listed").into_inner().tickets
    }
}

fn code(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_seats_are_given_back_and_the_others_stay() {
    let sold = sell(3).await;
    let (one, two) = (sold.seats[0].as_str(), sold.seats[1].as_str());
    let answer = sold.give_back(&[one], "one").await.expect("given back");
    assert_eq!(answer.refunded, Some(euros(PRICE_MINOR)));
    let left = answer.reservation.clone().expect("one");
    assert_eq!(left.state(), ReservationState::Confirmed);
    assert_eq!(left.total, Some(euros(2 * PRICE_MINOR)));
    assert_eq!((left.seats.len(), left.tickets.len()), (2, 2));
    assert_eq!(sold.alice.reservation(&left.id).await, left);
    assert_eq!(sold.alice.balance().await, PRICE_MINOR);
    // The same again is the same answer; the key is for this one request.
    let again = sold.give_back(&[one], "one").await.expect("as first");
    assert_eq!(again, answer);
    let other = sold.give_back(&[two], "one").await.expect_err("reused");
    let reused = "IDEMPOTENCY_KEY_REUSED".to_owned();
    assert_eq!(code(&other), (Code::AlreadyExists, reused));
    let gone = sold.give_back(&[one], "gone").await.expect_err("not in it");
    let invalid = (Code::InvalidArgument, "FIELD_INVALID".to_owned());
    assert_eq!(code(&gone), invalid);
    assert_eq!(sold.alice.balance().await, PRICE_MINOR);

    let bob = sold.app.user("bob");
    bob.hold(&sold.performance, &[one], "hold")
        .await
        .expect("free");
    let rest = sold.give_back(&[], "rest").await.expect("given back");
    assert_eq!(rest.refunded, Some(euros(2 * PRICE_MINOR)));
    let over = rest.reservation.expect("one");
    assert_eq!(over.state(), ReservationState::Cancelled);
    assert_eq!(sold.alice.balance().await, 3 * PRICE_MINOR);
    sold.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_admits_once_and_a_void_one_never() {
    let sold = sell(3).await;
    let tickets = &sold.reservation.tickets;
    let at_once = join_all((0..16).map(|_| sold.redeem(&tickets[0].code))).await;
    let answers: Vec<_> = at_once.into_iter().map(|it| it.expect("good")).collect();
    let first = answers.iter().filter(|answer| !answer.redeemed_before);
    assert_eq!(first.count(), 1, "of all gates one sees it first");
    for answer in &answers {
        assert_eq!(answer.ticket.as_ref(), Some(&tickets[0]));
        assert_eq!(answer.performance_id, sold.performance);
        assert_eq!(answer.redeem_time, answers[0].redeem_time);
    }
    assert!(sold.voided(None).await.is_empty());
    let seats = [tickets[1].seat_id.as_str(), tickets[2].seat_id.as_str()];
    sold.give_back(&seats, "some").await.expect("given back");
    for void in &tickets[1..] {
        let refused = sold.redeem(&void.code).await.expect_err("void");
        assert_eq!(code(&refused), (Code::NotFound, String::new()));
        assert_eq!(refused.message(), "not found");
    }
    let voided = sold.voided(None).await;
    let listed: Vec<_> = voided.iter().map(|it| it.seat_id.as_str()).collect();
    assert_eq!(listed, seats);
    assert!(voided.iter().all(|ticket| ticket.serial == 1));
    let since = voided[1].void_time;
    assert_eq!(sold.voided(since).await.len(), 2, "at the time or later");
    let later = since.map(|at| prost_types::Timestamp {
        seconds: at.seconds + 1,
        ..at
    });
    assert!(sold.voided(later).await.is_empty());

    // Sold again, by a code of its own.
    let bob = sold.app.user("bob");
    let held = bob.hold(&sold.performance, &seats[..1], "hold").await;
    let held = held.expect("free");
    bob.top_up(PRICE_MINOR, "money").await.expect("money");
    bob.pay(&held.id, "pay").await.expect("paid");
    let his = bob.reservation(&held.id).await.tickets.remove(0);
    assert_eq!(his.serial, 2);
    assert!(!sold.redeem(&his.code).await.expect("good").redeemed_before);
    let hers = sold.redeem(&tickets[1].code).await.expect_err("void");
    assert_eq!(hers.code(), Code::NotFound);
    sold.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_admitted_gets_money_back_from_an_operator_only() {
    let sold = sell(2).await;
    let ticket = &sold.reservation.tickets[0];
    let admitted = sold.redeem(&ticket.code).await.expect("good");
    let named = [ticket.seat_id.as_str()];
    for seats in [&[][..], &named] {
        let refused = sold.give_back(seats, "late").await.expect_err("redeemed");
        let unavailable = (Code::FailedPrecondition, "SEAT_UNAVAILABLE".to_owned());
        assert_eq!(code(&refused), unavailable);
        assert!(refused.message().contains("redeemed"), "{refused}");
        assert!(refused.get_details_retry_info().is_none());
        let fields = refused.get_details_bad_request().expect("the seats");
        let fields: Vec<_> = fields.field_violations.iter().collect();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].field, format!("seat_ids[{}]", ticket.seat_id));
    }
    assert_eq!(sold.alice.balance().await, 0);
    let unchanged = sold.alice.reservation(&sold.reservation.id).await;
    assert_eq!(unchanged, sold.reservation);
    // The key of a refusal is free.
    let other = [sold.seats[1].as_str()];
    sold.give_back(&other, "late").await.expect("not redeemed");

    let payment_id = unchanged.payment_id.expect("paid");
    let request = sold.root.ask(wire::RefundPaymentRequest {
        payment_id,
        amount: None,
        reason: "the show broke off".to_owned(),
        idempotency_key: "refund".to_owned(),
    });
    let refund = sold.root.operator().refund_payment(request).await;
    refund.expect("refunded");
    assert_eq!(sold.alice.balance().await, 2 * PRICE_MINOR);
    let voided = sold.voided(None).await;
    let of = |seat: &str| {
        let found = voided.iter().find(|it| it.seat_id == seat);
        found.expect("listed").redeem_time
    };
    assert_eq!(of(&ticket.seat_id), admitted.redeem_time);
    assert_eq!(of(&sold.seats[1]), None);
    let void = sold.redeem(&ticket.code).await.expect_err("void");
    assert_eq!(void.code(), Code::NotFound);
    sold.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_key_of_this_server_signed_as_a_ticket_is_no_code() {
    let (here, elsewhere) = tokio::join!(sell(1), sell(1));
    let good = &here.reservation.tickets[0].code;
    let mut forged = vec![
        // Signed well, by another server.
        elsewhere.reservation.tickets[0].code.clone(),
        "x".to_owned(),
        "..".to_owned(),
        "a\0b".to_owned(),
        "\u{202e}😀".to_owned(),
        format!("{good}A"),
        format!("{good}="),
        format!("{good}."),
        good[..good.len() - 1].to_owned(),
        good.to_uppercase(),
        "A".repeat(60_000),
    ];
    let segments: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIn0";
    forged.push(format!("{none}.{}.", segments[1]));
    forged.push(format!("{none}.{}.{}", segments[1], segments[2]));
    for at in (0..good.len() - 1).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).expect("ASCII"));
    }
    // A pass is signed by the same keys.
    let room = here.app.make_room("room", crate::sale::policy()).await;
    let place = here.alice.join(&room).await.token;
    forged.push(here.alice.await_pass(&place).await);
    forged.push(place);
    for text in &forged {
        let refused = here.redeem(text).await.expect_err("forged");
        assert_eq!(refused.code(), Code::Unauthenticated, "{text:.60?}");
        assert_eq!(refused.message(), "credentials are missing or not valid");
    }
    let empty = here.redeem("").await.expect_err("nothing");
    let invalid = (Code::InvalidArgument, "FIELD_INVALID".to_owned());
    assert_eq!(code(&empty), invalid);
    // None of them has redeemed it.
    assert!(!here.redeem(good).await.expect("good").redeemed_before);
}
