//! Some seats of a reservation given back.

use futures_util::future::join_all;

use super::fixture::{LIMIT, PRICE_MINOR, Sale, ids, money, section, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::payment::PaymentState;
use crate::store::sales::{CancelReservation, SalesError};

const SEATS: [&str; 3] = ["s1-r1-1", "s1-r1-2", "s1-r1-3"];

async fn read(sale: &Sale, id: &ResourceId) -> Reservation {
    let read = sale.store().reservation(user("ann"), id.clone()).await;
    read.unwrap()
}

/// Three seats of `ann`, who has 1,000 before paying.
async fn bought(sale: &Sale) -> (ResourceId, Reservation, ResourceId) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &SEATS).await.unwrap();
    let payment = sale.pay("ann", &held.id).await.unwrap().payment.id;
    (performance, held, payment)
}

fn names(reservation: &Reservation) -> Vec<&str> {
    let seats = reservation.seats.iter();
    seats.map(|seat| seat.seat.as_str()).collect()
}

pub async fn a_hold_goes_on_with_the_seats_that_stay(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &SEATS).await.unwrap();
    let parted = sale
        .cancel_some("ann", &held.id, &SEATS[..1])
        .await
        .unwrap();
    assert_eq!(parted.refunded, None);
    assert_eq!(parted.reservation.state, ReservationState::Held);
    assert_eq!(parted.reservation.total, money(2 * PRICE_MINOR));
    let seen = read(sale, &held.id).await;
    assert_eq!(seen, parted.reservation);
    assert_eq!(names(&seen), SEATS[1..]);
    let state = sale.state(&performance, SEATS[0]).await;
    assert_eq!(state, SeatState::Available);
    sale.hold("bob", &performance, &SEATS[..1]).await.unwrap();
    sale.advance_ms(1_000).await;
    sale.store()
        .extend_hold(user("ann"), held.id.clone())
        .await
        .unwrap();
    let paid = sale.pay("ann", &held.id).await.unwrap();
    assert_eq!(paid.payment.amount, money(2 * PRICE_MINOR));
    assert_eq!(read(sale, &held.id).await.tickets.len(), 2);
    let all = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(all.refunded, Some(money(2 * PRICE_MINOR)));
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn seats_of_a_paid_one_are_freed_and_refunded(sale: &Sale) {
    let made = sale
        .performance_with(|terms| {
            terms.sections = vec![section("A", 300, &[2]), section("B", 50, &[1])];
        })
        .await;
    let room = sale.protect(&made.id).await;
    let pass = sale.activate(&room, "ann", 0, 300_000).await;
    sale.top_up("ann", 1_000).await;
    let seats = ["s1-r1-1", "s1-r1-2", "s2-r1-1"];
    let held = sale.hold_with("ann", &made.id, &seats, pass).await.unwrap();
    let payment = sale.pay("ann", &held.id).await.unwrap().payment.id;
    let command = sale.cancelling("ann", &held.id, &["s2-r1-1"]);
    let store = sale.store();
    let parted = store.cancel_reservation(command.clone()).await.unwrap();
    assert_eq!(parted.refunded, Some(money(50)));
    assert_eq!(parted.changed.recheck_sold_out, Some(room.id));
    assert_eq!(parted.reservation.state, ReservationState::Confirmed);
    assert_eq!(parted.reservation.total, money(600));
    assert_eq!(read(sale, &held.id).await, parted.reservation);
    assert_eq!(parted.reservation.tickets.len(), 2);
    let state = sale.state(&made.id, "s2-r1-1").await;
    assert_eq!(state, SeatState::Available);
    let seen = store.payment(user("ann"), payment.clone()).await.unwrap();
    assert_eq!(
        (seen.state, seen.refunded),
        (PaymentState::Succeeded, money(50))
    );
    assert_eq!(sale.balance("ann").await, 400);

    // A repeat is the first answer; its key is for these seats only.
    assert_eq!(store.cancel_reservation(command.clone()).await, Ok(parted));
    let other = CancelReservation {
        seats: ids(&["s1-r1-1"]),
        ..command
    };
    let reused = Err(SalesError::IdempotencyKeyReused);
    assert_eq!(store.cancel_reservation(other).await, reused);
    sale.assert_clean_audit("a part").await;

    let rest = sale.cancel_some("ann", &held.id, &["s1-r1-2", "s1-r1-1"]);
    let rest = rest.await.unwrap();
    assert_eq!(rest.refunded, Some(money(600)));
    assert_eq!(rest.reservation.state, ReservationState::Cancelled);
    assert_eq!(rest.reservation.total, money(600));
    let seen = store.payment(user("ann"), payment).await.unwrap();
    assert_eq!(seen.state, PaymentState::Refunded);
    assert_eq!(sale.cancel("ann", &held.id).await.unwrap().refunded, None);
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn a_part_after_goodwill_gives_back_what_was_paid_for_it(sale: &Sale) {
    let (_, held, payment) = bought(sale).await;
    let store = sale.store();
    let goodwill = sale.refunding(&payment, Some(money(PRICE_MINOR * 3 / 2)));
    store.refund_payment(goodwill).await.unwrap();
    // Half was given back, so each seat has cost half.
    let half = PRICE_MINOR / 2;
    let parted = sale
        .cancel_some("ann", &held.id, &SEATS[..1])
        .await
        .unwrap();
    assert_eq!(parted.refunded, Some(money(half)));
    sale.assert_clean_audit("goodwill and a part").await;
    let max_minor = 2 * half;
    let too_much = sale.refunding(&payment, Some(money(max_minor + 1)));
    assert_eq!(
        store.refund_payment(too_much).await,
        Err(SalesError::AmountOutOfRange { max_minor })
    );
    // All but one minor unit: what is left is not enough to share.
    let nearly = sale.refunding(&payment, Some(money(max_minor - 1)));
    store.refund_payment(nearly).await.unwrap();
    let parted = sale.cancel_some("ann", &held.id, &SEATS[1..2]).await;
    let parted = parted.unwrap();
    assert_eq!(parted.refunded, None);
    assert_eq!(parted.reservation.state, ReservationState::Confirmed);
    sale.assert_clean_audit("next to nothing is left").await;
    let rest = store.refund_payment(sale.refunding(&payment, None)).await;
    assert!(rest.unwrap().changed.is_some(), "the last of it cancels");
    let seen = read(sale, &held.id).await;
    assert_eq!(seen.state, ReservationState::Cancelled);
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn only_seats_that_it_has_are_given_back(sale: &Sale) {
    let (performance, held, _) = bought(sale).await;
    sale.hold("bob", &performance, &["s1-r1-4"]).await.unwrap();
    sale.cancel_some("ann", &held.id, &SEATS[..1])
        .await
        .unwrap();
    let before = (read(sale, &held.id).await, sale.balance("ann").await);
    for bad in [
        &["s1-r1-4"][..],
        &["s1-r1-5"],
        &["nope"],
        &[SEATS[0]],
        &[SEATS[1], SEATS[0]],
        &[SEATS[1], SEATS[1]],
        &[SEATS[1], SEATS[2], "s1-r1-4"],
    ] {
        let refused = sale.cancel_some("ann", &held.id, bad).await;
        assert!(
            matches!(&refused, Err(SalesError::Field(error)) if error.field == "seat_ids"),
            "{bad:?}: {refused:?}"
        );
    }
    let foreign = sale.cancel_some("bob", &held.id, &SEATS[1..2]).await;
    assert_eq!(foreign, Err(SalesError::NotFound));
    let after = (read(sale, &held.id).await, sale.balance("ann").await);
    assert_eq!(after, before);
    let late = sale.hold("cid", &performance, &["s1-r2-1", "s1-r2-2"]);
    let late = late.await.unwrap();
    sale.advance_ms(super::HOLD_TTL_MS).await;
    let refused = sale.cancel_some("cid", &late.id, &["s1-r2-1"]).await;
    assert_eq!(refused, Err(SalesError::HoldExpired));
}

pub async fn a_seat_given_back_is_sold_again(sale: &Sale) {
    let (performance, held, _) = bought(sale).await;
    assert!(SEATS.len() < LIMIT as usize);
    sale.cancel_some("ann", &held.id, &SEATS[..1])
        .await
        .unwrap();
    for serial in 2..=3 {
        let again = sale.hold("ann", &performance, &SEATS[..1]).await.unwrap();
        sale.pay("ann", &again.id).await.unwrap();
        assert_eq!(read(sale, &again.id).await.tickets[0].serial, serial);
        sale.cancel("ann", &again.id).await.unwrap();
    }
    assert_eq!(read(sale, &held.id).await.tickets.len(), 2);
    assert_eq!(sale.balance("ann").await, 1_000 - 2 * PRICE_MINOR);
}

pub async fn parts_in_parallel_give_each_seat_back_once(sale: &Sale) {
    let (performance, held, payment) = bought(sale).await;
    let seats = SEATS;
    let parts = (0..12).map(|n| sale.cancel_some("ann", &held.id, &seats[n % 3..=n % 3]));
    let store = sale.store();
    let goodwill = (0..4).map(|_| store.refund_payment(sale.refunding(&payment, Some(money(20)))));
    let (parts, _) = tokio::join!(join_all(parts), join_all(goodwill));
    assert!(parts.iter().any(Result::is_ok));
    let seen = read(sale, &held.id).await;
    assert_eq!(seen.state, ReservationState::Cancelled);
    assert_eq!(sale.balance("ann").await, 1_000);
    for seat in SEATS {
        assert_eq!(sale.state(&performance, seat).await, SeatState::Available);
    }
}
