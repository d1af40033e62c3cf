//! What a sale tells in its events: each of them exactly if what it speaks of
//! was committed.

use serde_json::{Value, json};

use super::fixture::{PRICE_MINOR, PROVIDER, Sale, money};
use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::store::sales::{SalesError, Settle};

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
