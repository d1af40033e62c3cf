//! What a sale tells in its events: each of them exactly if what it speaks of
//! was committed.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::fixture::{PRICE_MINOR, PROVIDER, Sale, money};
use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::domain::trace::Trace;
use crate::store::sales::{BeginPayment, Once, PayReservation, RefundPayment, SalesError, Settle};

const SEAT: &str = "s1-r1-1";

async fn held(sale: &Sale) -> Reservation {
    let performance = sale.performance().await;
    sale.hold("ann", &performance, &[SEAT]).await.unwrap()
}

fn body(event: &OutboxEvent) -> Value {
    serde_json::from_str(&event.payload).unwrap()
}

fn of_payment(held: &Reservation, payment: &ResourceId) -> Value {
    json!({
        "payment_id": payment,
        "reservation_id": held.id,
        "user_id": "ann",
        "amount": money(PRICE_MINOR),
        "performance_id": held.performance,
    })
}

pub async fn a_payment_by_a_provider_says_that_it_began_and_how_it_ended(sale: &Sale) {
    let held = held(sale).await;
    let command = sale.beginning("ann", &held.id);
    let first = sale.store().begin_payment(command.clone()).await.unwrap();
    let first = first.intent.id;
    let again = sale.store().begin_payment(command).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(sale.kinds_told(&held.id).await, ["payment.started"]);
    for _ in 0..2 {
        sale.settle(&first, Declined).await;
    }
    let second = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&second, Succeeded).await;
    let told = sale.told(&held.id).await;
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    let expected = [
        "payment.started",
        "payment.declined",
        "payment.started",
        "reservation.confirmed",
        "payment.succeeded",
    ];
    assert_eq!(kinds, expected);
    for (n, id) in [(0, &first), (1, &first), (2, &second), (4, &second)] {
        assert_eq!(body(&told[n]), of_payment(&held, id));
    }
}

pub async fn another_amount_is_told_as_declined(sale: &Sale) {
    let held = held(sale).await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let command = Settle {
        taken: Some(money(PRICE_MINOR - 1)),
        ..sale.settling(&intent, Succeeded)
    };
    sale.store().settle(command).await.unwrap();
    let kinds = sale.kinds_told(&held.id).await;
    assert_eq!(kinds, ["payment.started", "payment.declined"]);
    for refund in sale.store().due_refunds(PROVIDER, 10).await.unwrap() {
        sale.store().refund_done(refund.id).await.unwrap();
    }
}

pub async fn what_was_refused_tells_nothing(sale: &Sale) {
    let held = held(sale).await;
    let poor = sale.pay("ann", &held.id).await;
    assert_eq!(poor, Err(SalesError::InsufficientFunds));
    let stranger = sale.begin("bob", &held.id).await;
    assert_eq!(stranger, Err(SalesError::NotFound));
    assert!(sale.told(&held.id).await.is_empty());
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let busy = sale.begin("ann", &held.id).await;
    assert_eq!(busy, Err(SalesError::PaymentInProgress));
    assert_eq!(sale.kinds_told(&held.id).await, ["payment.started"]);
    sale.settle(&intent, Declined).await;
}

fn trace(n: u8) -> Trace {
    let sent = format!("00-{n:032x}-00000000000000b7-01");
    Trace::from_parent(&sent).unwrap()
}

fn traced(once: &Once, n: u8) -> Once {
    Once {
        trace: Some(trace(n)),
        ..once.clone()
    }
}

async fn traces(sale: &Sale, of: &Reservation) -> Vec<(String, Option<Trace>)> {
    let told = sale.told(&of.id).await.into_iter();
    told.map(|event| (event.kind, event.trace)).collect()
}

pub async fn an_event_goes_on_with_the_trace_of_its_request(sale: &Sale) {
    let held = held(sale).await;
    sale.top_up("ann", 1_000).await;
    let pay = sale.paying("ann", &held.id);
    let pay = PayReservation {
        once: traced(&pay.once, 1),
        ..pay
    };
    let paid = sale.store().pay_reservation(pay.clone()).await.unwrap();
    // A repeat has no effect, and so no trace.
    let again = PayReservation {
        once: traced(&pay.once, 2),
        ..pay
    };
    sale.store().pay_reservation(again).await.unwrap();
    let refund = sale.refunding(&paid.payment.id, Some(money(1)));
    let refund = RefundPayment {
        once: traced(&refund.once, 3),
        ..refund
    };
    sale.store().refund_payment(refund).await.unwrap();
    let cancel = sale.cancelling("ann", &held.id, &[]);
    let own = cancel.once.trace();
    sale.store().cancel_reservation(cancel).await.unwrap();
    let expected = [
        ("reservation.confirmed", trace(1)),
        ("payment.succeeded", trace(1)),
        ("payment.refunded", trace(3)),
        ("payment.refunded", own),
        ("reservation.cancelled", own),
    ];
    let expected = expected.map(|(kind, trace)| (kind.to_owned(), Some(trace)));
    assert_eq!(traces(sale, &held).await, expected);
}

pub async fn payments_decided_together_keep_their_traces(sale: &Sale) {
    let performance = sale.performance().await;
    let (mut paying, mut held) = (Vec::new(), Vec::new());
    for n in 1..=4_u8 {
        let who = format!("u{n}");
        sale.top_up(&who, 1_000).await;
        let seat = format!("s1-r1-{n}");
        let one = sale.hold(&who, &performance, &[&seat]).await.unwrap();
        let pay = sale.paying(&who, &one.id);
        paying.push(PayReservation {
            once: traced(&pay.once, n),
            ..pay
        });
        held.push(one);
    }
    let store = sale.store();
    let calls = paying.into_iter().map(|pay| store.pay_reservation(pay));
    for paid in join_all(calls).await {
        paid.unwrap();
    }
    for (n, one) in (1..).zip(&held) {
        let found = traces(sale, one).await;
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|(_, of)| *of == Some(trace(n))),
            "{found:?}"
        );
    }
}

pub async fn what_a_provider_decides_goes_on_with_the_trace_of_the_payment(sale: &Sale) {
    let held = held(sale).await;
    for (n, outcome) in [(1, Declined), (2, Succeeded)] {
        let begin = sale.beginning("ann", &held.id);
        let begin = BeginPayment {
            once: traced(&begin.once, n),
            ..begin
        };
        let begun = sale.store().begin_payment(begin).await.unwrap();
        sale.settle(&begun.intent.id, outcome).await;
    }
    let found = traces(sale, &held).await;
    let of: Vec<_> = found.iter().map(|(_, trace)| trace.unwrap()).collect();
    assert_eq!(of, [1, 1, 2, 2, 2].map(trace));
}
