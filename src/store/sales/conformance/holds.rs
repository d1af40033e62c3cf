//! Holding, extending, releasing; keys and owners.

use super::fixture::{
    HOLD_TOTAL_MAX_MS, HOLD_TTL_MS, LIMIT, PRICE_MINOR, Sale, best, id, ids, money, user,
};
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::hold::ReservationState;
use crate::domain::time::UnixMs;
use crate::store::sales::{HoldSeats, SalesError};

pub async fn all_seats_or_none(sale: &Sale) {
    let performance = sale.performance().await;
    let first = sale.hold("ann", &performance, &["s1-r1-1", "s1-r1-2"]);
    let first = first.await.unwrap();
    assert_eq!(first.total, money(2 * PRICE_MINOR));
    assert_eq!(first.state, ReservationState::Held);

    let second = sale.hold("bob", &performance, &["s1-r1-3", "s1-r1-2"]);
    let taken = ids(&["s1-r1-2"]);
    assert_eq!(
        second.await,
        Err(SalesError::SeatUnavailable { seats: taken })
    );
    assert_eq!(
        sale.state(&performance, "s1-r1-3").await,
        SeatState::Available
    );

    let own = sale.hold("ann", &performance, &["s1-r1-1"]).await;
    let taken = ids(&["s1-r1-1"]);
    assert_eq!(own, Err(SalesError::SeatUnavailable { seats: taken }));
}

pub async fn a_choice_that_cannot_be_is_refused(sale: &Sale) {
    let performance = sale.performance().await;
    let no_seats = sale.hold("ann", &performance, &[]).await;
    assert!(matches!(no_seats, Err(SalesError::Field(_))));
    let twice = sale
        .hold("ann", &performance, &["s1-r1-1", "s1-r1-1"])
        .await;
    assert!(matches!(twice, Err(SalesError::Field(_))));
    for count in [0, u32::MAX] {
        let none = sale.hold_best("ann", &performance, best(count)).await;
        assert!(matches!(none, Err(SalesError::Field(_))), "{count}");
    }
    let unknown = sale
        .hold("ann", &performance, &["s1-r1-1", "s9-r1-1"])
        .await;
    assert_eq!(
        unknown,
        Err(SalesError::SeatNotInPerformance {
            seats: ids(&["s9-r1-1"])
        })
    );
    let nowhere = sale.hold("ann", &id("nowhere"), &["s1-r1-1"]).await;
    assert_eq!(nowhere, Err(SalesError::NotFound));
}

pub async fn an_expired_hold_is_free_at_once_and_dead_for_its_owner(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1", "s1-r1-2"]);
    let held = held.await.unwrap();
    sale.advance_ms(HOLD_TTL_MS).await;

    let seen = sale.store().reservation(user("ann"), held.id.clone()).await;
    assert_eq!(seen.unwrap().state, ReservationState::Expired);
    assert_eq!(
        sale.state(&performance, "s1-r1-2").await,
        SeatState::Available
    );
    assert_eq!(
        sale.pay("ann", &held.id).await,
        Err(SalesError::HoldExpired)
    );
    assert_eq!(
        sale.store().extend_hold(user("ann"), held.id.clone()).await,
        Err(SalesError::HoldExpired)
    );
    assert_eq!(
        sale.cancel("ann", &held.id).await,
        Err(SalesError::HoldExpired)
    );
    assert_eq!(sale.balance("ann").await, 1_000);

    // Nobody swept; another user takes one of its seats.
    sale.hold("bob", &performance, &["s1-r1-1"]).await.unwrap();
    assert_eq!(sale.state(&performance, "s1-r1-1").await, SeatState::Held);
    let swept = sale.store().sweep(100).await.unwrap();
    assert_eq!(swept.holds, 0, "it was ended when its seat was taken");
}

pub async fn the_last_millisecond_of_a_hold_can_be_paid(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS - 1).await;
    sale.pay("ann", &held.id).await.unwrap();
    sale.advance_ms(1).await;
    let seen = sale
        .store()
        .reservation(user("ann"), held.id)
        .await
        .unwrap();
    assert_eq!(seen.state, ReservationState::Confirmed);
    assert_eq!(sale.state(&performance, "s1-r1-1").await, SeatState::Sold);
}

pub async fn a_hold_is_extended_once(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS - 1).await;
    let store = sale.store();
    let known = store.seat_map(performance.clone(), None).await.unwrap();
    let extended = store.extend_hold(user("ann"), held.id.clone()).await;
    let extended = extended.unwrap();
    let news = store.seat_map(performance.clone(), Some(known.version));
    let news = news.await.unwrap().seats;
    assert_eq!(news.len(), 1, "those who knew the seats hear of it");
    let limit = UnixMs(held.created_at.0 + HOLD_TOTAL_MAX_MS);
    assert_eq!(extended.expires_at, limit, "the total binds");
    assert_eq!(
        sale.seat(&performance, "s1-r1-1").await.held_until,
        Some(limit)
    );
    sale.advance_ms(1).await;
    assert_eq!(
        sale.store().extend_hold(user("ann"), held.id.clone()).await,
        Err(SalesError::ExtensionLimit)
    );
    assert_eq!(
        sale.hold("bob", &performance, &["s1-r1-1"]).await,
        Err(SalesError::SeatUnavailable {
            seats: ids(&["s1-r1-1"])
        })
    );
}

pub async fn a_user_has_at_most_the_limit_held_and_bought_together(sale: &Sale) {
    let performance = sale.performance().await;
    let limit = Err(SalesError::LimitPerUser { seats_max: LIMIT });
    sale.top_up("ann", 1_000).await;
    assert_eq!(
        sale.hold_best("ann", &performance, best(LIMIT + 1)).await,
        limit
    );
    let bought = sale.hold_best("ann", &performance, best(2)).await.unwrap();
    sale.pay("ann", &bought.id).await.unwrap();
    let held = sale.hold_best("ann", &performance, best(2)).await.unwrap();
    assert_eq!(sale.hold_best("ann", &performance, best(1)).await, limit);
    sale.hold_best("bob", &performance, best(1)).await.unwrap();

    sale.cancel("ann", &held.id).await.unwrap();
    sale.hold_best("ann", &performance, best(2)).await.unwrap();
    // An expired hold does not count.
    sale.advance_ms(HOLD_TTL_MS).await;
    sale.hold_best("ann", &performance, best(2)).await.unwrap();
}

pub async fn seats_are_sold_only_in_the_sale_window(sale: &Sale) {
    let performance = sale
        .performance_with(|terms| {
            terms.sale_opens_at = terms.sale_opens_at.plus_ms(1_000);
            terms.sale_closes_at = Some(terms.sale_opens_at.plus_ms(5_000));
        })
        .await
        .id;
    let refused = Err(SalesError::SaleNotOpen);
    sale.advance_ms(999).await;
    assert_eq!(sale.hold("ann", &performance, &["s1-r1-1"]).await, refused);
    sale.advance_ms(1).await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    sale.advance_ms(5_000).await;
    assert_eq!(sale.hold("ann", &performance, &["s1-r1-2"]).await, refused);
    // What was held in time may still be paid.
    sale.pay("ann", &held.id).await.unwrap();
}

pub async fn a_repeat_gets_the_answer_first_given(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let command = sale.holding("ann", &performance, SeatChoice::BestAvailable(best(2)));
    let first = sale.store().hold_seats(command.clone()).await.unwrap();
    let paying = sale.paying("ann", &first.reservation.id);
    let paid = sale.store().pay_reservation(paying.clone()).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS).await;

    // A retry makes a new id: it is not the request.
    let repeat = HoldSeats {
        id: id(&sale.fresh()),
        ..command
    };
    assert_eq!(sale.store().hold_seats(repeat).await, Ok(first.clone()));
    assert_eq!(sale.store().pay_reservation(paying).await, Ok(paid));
    let cancelling = sale.cancelling("ann", &first.reservation.id, &[]);
    let cancel = || {
        let (store, command) = (sale.store(), cancelling.clone());
        async move { store.cancel_reservation(command).await }
    };
    let cancelled = cancel().await.unwrap();
    assert_eq!(cancelled.refunded, Some(money(2 * PRICE_MINOR)));
    assert_eq!(cancel().await, Ok(cancelled));
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn a_key_with_another_request_is_refused(sale: &Sale) {
    let performance = sale.performance().await;
    let command = sale.holding("ann", &performance, SeatChoice::BestAvailable(best(1)));
    sale.run_hold(command.clone()).await.unwrap();
    let other = HoldSeats {
        choice: SeatChoice::BestAvailable(best(2)),
        ..command.clone()
    };
    assert_eq!(
        sale.run_hold(other).await,
        Err(SalesError::IdempotencyKeyReused)
    );
    // Another user's key of the same name is another key.
    let theirs = HoldSeats {
        once: Sale::once_as("bob", command.once.key.as_str()),
        id: id(&sale.fresh()),
        ..command
    };
    sale.run_hold(theirs).await.unwrap();
}

pub async fn refusals_are_not_kept(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("bob", &performance, &["s1-r1-1"]).await.unwrap();
    let command = sale.holding("ann", &performance, SeatChoice::Named(ids(&["s1-r1-1"])));
    assert!(sale.run_hold(command.clone()).await.is_err());
    sale.cancel("bob", &held.id).await.unwrap();
    sale.run_hold(command).await.unwrap();
}

pub async fn keys_are_forgotten_after_a_day(sale: &Sale) {
    let deposit = sale.deposit("ann", money(10));
    sale.store().top_up(deposit.clone()).await.unwrap();
    sale.advance_ms(86_399_999).await;
    sale.store().sweep(1).await.unwrap();
    sale.store().top_up(deposit.clone()).await.unwrap();
    assert_eq!(sale.balance("ann").await, 10);
    sale.advance_ms(1).await;
    let again = crate::store::sales::Deposit {
        id: id(&sale.fresh()),
        ..deposit
    };
    sale.store().top_up(again).await.unwrap();
    assert_eq!(sale.balance("ann").await, 20);
}

pub async fn reservations_are_their_owners_alone(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("bob", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let store = sale.store();
    let seen = store.reservation(user("bob"), held.id.clone()).await;
    assert_eq!(seen, Err(SalesError::NotFound));
    let extended = store.extend_hold(user("bob"), held.id.clone()).await;
    assert_eq!(extended, Err(SalesError::NotFound));
    assert_eq!(
        sale.cancel("bob", &held.id).await,
        Err(SalesError::NotFound)
    );
    assert_eq!(sale.pay("bob", &held.id).await, Err(SalesError::NotFound));
    sale.top_up("ann", 1_000).await;
    let paid = sale.pay("ann", &held.id).await.unwrap();
    let payment = paid.payment.id;
    let theirs = store.payment(user("bob"), payment.clone()).await;
    assert_eq!(theirs, Err(SalesError::NotFound));
    store.payment(user("ann"), payment).await.unwrap();
}

pub async fn a_released_hold_frees_its_seats_once(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let released = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(released.reservation.state, ReservationState::Released);
    assert_eq!(released.refunded, None);
    let theirs = sale.hold("bob", &performance, &["s1-r1-1"]).await.unwrap();

    // Late repeats by the former owner touch nobody's seat.
    let again = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(again.reservation.state, ReservationState::Released);
    assert_eq!(
        sale.pay("ann", &held.id).await,
        Err(SalesError::HoldExpired)
    );
    let seen = sale.store().reservation(user("bob"), theirs.id).await;
    assert_eq!(seen.unwrap().state, ReservationState::Held);
    assert_eq!(sale.state(&performance, "s1-r1-1").await, SeatState::Held);
}
