//! Many at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::fixture::{LIMIT, PRICE_MINOR, Sale, best, id, ids, money, section, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::hold::ReservationState;
use crate::store::sales::{Deposit, PayReservation, SalesError};

pub async fn a_hot_seat_has_one_winner(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    let calls = (0..1_000).map(|n| {
        let choice = SeatChoice::Named(ids(&["s1-r1-1"]));
        let command = sale.holding(&format!("user{n}"), &performance, choice);
        store.hold_seats(command)
    });
    let outcomes = join_all(calls).await;
    let refused = Err(SalesError::SeatUnavailable {
        seats: ids(&["s1-r1-1"]),
    });
    let losers = outcomes.iter().filter(|outcome| **outcome == refused);
    assert_eq!(losers.count(), 999);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub async fn limits_hold_in_parallel(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("All", PRICE_MINOR, &[50])])
        .await;
    let performance = made.id;
    let names: Vec<String> = (1..=50).map(|n| format!("s1-r1-{n}")).collect();
    let calls = names.iter().map(|seat| {
        let performance = &performance;
        async move { sale.hold("ann", performance, &[seat]).await }
    });
    let outcomes = join_all(calls).await;
    let held = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(held, LIMIT as usize);
    let limit = Err(SalesError::LimitPerUser { seats_max: LIMIT });
    let refused = outcomes.iter().filter(|outcome| **outcome == limit);
    assert_eq!(refused.count(), 50 - LIMIT as usize);
}

pub async fn the_best_available_are_never_given_twice(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("All", PRICE_MINOR, &[30, 30])])
        .await;
    let performance = made.id;
    let calls = (0..40).map(|n| {
        let (performance, who) = (&performance, format!("user{n}"));
        async move { sale.hold_best(&who, performance, best(2)).await }
    });
    let outcomes = join_all(calls).await;
    let mut given = BTreeSet::new();
    for held in outcomes.iter().flatten() {
        for seat in &held.seats {
            assert!(given.insert(seat.seat.clone()), "{} twice", seat.seat);
        }
    }
    assert_eq!(given.len(), 60);
    let sold_out = outcomes.iter().filter(|o| **o == Err(SalesError::SoldOut));
    assert_eq!(sold_out.count(), 10);
}

/// A hold of `ann`, who has the money for many.
async fn affordable_hold(sale: &Sale, performance: &ResourceId) -> ResourceId {
    sale.top_up("ann", 10_000).await;
    let held = sale.hold("ann", performance, &["s1-r1-1"]).await;
    held.unwrap().id
}

pub async fn one_of_many_payments_wins(sale: &Sale) {
    let performance = sale.performance().await;
    let held = affordable_hold(sale, &performance).await;
    let outcomes = join_all((0..50).map(|_| sale.pay("ann", &held))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let paid_already = Err(SalesError::AlreadyPaid);
    let losers = outcomes.iter().filter(|outcome| **outcome == paid_already);
    assert_eq!(losers.count(), 49);
    assert_eq!(sale.balance("ann").await, 10_000 - PRICE_MINOR);
}

pub async fn one_key_has_one_effect_in_parallel(sale: &Sale) {
    let performance = sale.performance().await;
    let held = affordable_hold(sale, &performance).await;
    let command = sale.paying("ann", &held);
    let store = sale.store();
    let calls = (0..64).map(|_| {
        store.pay_reservation(PayReservation {
            id: id(&sale.fresh()),
            ..command.clone()
        })
    });
    let outcomes = join_all(calls).await;
    for outcome in &outcomes {
        // A store may answer IN_FLIGHT to a repeat, but never something else.
        assert!(
            *outcome == outcomes[0] || *outcome == Err(SalesError::InFlight),
            "{outcome:?}"
        );
    }
    assert_eq!(sale.balance("ann").await, 10_000 - PRICE_MINOR);

    let deposit = sale.deposit("bob", money(5));
    let calls = (0..64).map(|_| {
        store.top_up(Deposit {
            id: id(&sale.fresh()),
            ..deposit.clone()
        })
    });
    let outcomes = join_all(calls).await;
    assert!(outcomes.iter().any(Result::is_ok));
    assert_eq!(sale.balance("bob").await, 5);
}

pub async fn refunds_in_parallel_stay_within_the_payment(sale: &Sale) {
    let performance = sale.performance().await;
    let held = affordable_hold(sale, &performance).await;
    let payment = sale.pay("ann", &held).await.unwrap().payment.id;
    let store = sale.store();
    let part = PRICE_MINOR / 4 + 1;
    let calls = (0..20).map(|_| {
        let refund = sale.refunding(&payment, Some(money(part)));
        store.refund_payment(refund)
    });
    let given = join_all(calls).await.into_iter().filter(Result::is_ok);
    assert_eq!(given.count(), 3);
    let left = 10_000 - PRICE_MINOR + 3 * part;
    assert_eq!(sale.balance("ann").await, left);
}

pub async fn cancel_and_pay_exclude_each_other(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 10_000).await;
    for _ in 0..20 {
        let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
        let (paid, cancelled) =
            tokio::join!(sale.pay("ann", &held.id), sale.cancel("ann", &held.id));
        let seen = sale
            .store()
            .reservation(user("ann"), held.id)
            .await
            .unwrap();
        assert!(cancelled.is_ok());
        let expected = if paid.is_ok() {
            ReservationState::Cancelled
        } else {
            ReservationState::Released
        };
        assert_eq!(seen.state, expected);
        assert_eq!(sale.balance("ann").await, 10_000);
    }
}

pub async fn a_caller_that_goes_away_leaves_nothing_half_done(sale: &Sale) {
    let performance = sale.performance().await;
    let held = affordable_hold(sale, &performance).await;
    let command = sale.paying("ann", &held);
    let store = sale.store();
    for _ in 0..50 {
        let mut call = Box::pin(store.pay_reservation(command.clone()));
        // Polled once: the unit is on its way. Then the caller goes.
        let _ = futures_util::poll!(&mut call);
    }
    let paid = store.pay_reservation(command).await.unwrap();
    assert_eq!(paid.payment.amount, money(PRICE_MINOR));
    assert_eq!(sale.balance("ann").await, 10_000 - PRICE_MINOR);
}
