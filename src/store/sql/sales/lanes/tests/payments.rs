//! Payments in one batch.

use super::*;
use crate::domain::ids::ResourceId;
use crate::domain::place::EndReason;
use crate::store::rooms::{ActivationState, RoomRegistry};
use crate::store::sales::conformance::fixture::PRICE_MINOR;

#[tokio::test]
async fn one_wallet_pays_as_many_of_a_batch_as_it_can() {
    on_each(|world| one_wallet(world).boxed()).await;
}

async fn one_wallet(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let other = sale.performance().await;
    let mut held: Vec<ResourceId> = Vec::new();
    for (of, seat) in [
        (&performance, "s1-r1-1"),
        (&performance, "s1-r1-2"),
        (&other, "s1-r1-1"),
    ] {
        held.push(sale.hold("ann", of, &[seat]).await.expect("holds").id);
    }
    let of_bob = sale
        .hold("bob", &performance, &["s1-r1-3"])
        .await
        .expect("holds")
        .id;
    sale.top_up("ann", 2 * PRICE_MINOR).await;
    sale.top_up("bob", PRICE_MINOR).await;

    let first = sale.paying("ann", &held[0]);
    let mut again = first.clone();
    again.id = sale.paying("ann", &held[0]).id;
    let outcomes = world
        .together::<Payments>(vec![
            first,
            again,
            sale.paying("ann", &held[0]),
            sale.paying("ann", &of_bob),
            sale.paying("ann", &held[1]),
            sale.paying("ann", &held[2]),
            sale.paying("bob", &of_bob),
            sale.paying("cat", &of_bob),
        ])
        .await;
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], outcomes[0], "the first answer");
    assert_eq!(outcomes[2], Err(SalesError::AlreadyPaid));
    assert_eq!(outcomes[3], Err(SalesError::NotFound));
    assert!(outcomes[4].is_ok());
    assert_eq!(outcomes[5], Err(SalesError::InsufficientFunds));
    assert!(outcomes[6].is_ok());
    assert_eq!(outcomes[7], Err(SalesError::NotFound));
    assert_eq!(sale.balance("ann").await, 0);
    assert_eq!(sale.balance("bob").await, 0);

    // A refusal left its hold as it was.
    sale.top_up("ann", PRICE_MINOR).await;
    let late = world
        .together::<Payments>(vec![sale.paying("ann", &held[2])])
        .await;
    assert!(late[0].is_ok());
    let user = crate::domain::ids::UserId::parse("ann").unwrap();
    for id in held {
        let paid = world
            .store
            .reservation(user.clone(), id)
            .await
            .expect("shown");
        assert_eq!(paid.tickets.len(), 1);
        assert_eq!(paid.tickets[0].serial, 1);
    }
}

#[tokio::test]
async fn the_last_of_two_payments_completes_their_pass() {
    on_each(|world| two_of_a_pass(world).boxed()).await;
}

async fn two_of_a_pass(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    let pass = sale.activate(&room, "ann", 0, 600_000).await;
    let ended = sale.activate(&room, "bob", 0, 600_000).await;
    sale.end(ended, EndReason::Revoked).await;
    let seat = |name: &str| {
        let ids = crate::store::sales::conformance::fixture::ids(&[name]);
        crate::domain::sale::command::SeatChoice::Named(ids)
    };
    let with = |who: &str, name: &str, pass| HoldSeats {
        activation: Some(pass),
        ..sale.holding(who, &performance, seat(name))
    };
    let held = world
        .together::<Holds>(vec![
            with("ann", "s1-r1-1", pass),
            with("bob", "s1-r1-3", ended),
            with("ann", "s1-r1-2", pass),
            with("cat", "s1-r1-3", pass),
            sale.holding("ann", &performance, seat("s1-r1-3")),
        ])
        .await;
    assert_eq!(held[1], Err(SalesError::PassEnded));
    assert_eq!(held[3], Err(SalesError::PassOfAnotherUser));
    assert!(matches!(held[4], Err(SalesError::PassRequired { .. })));
    sale.top_up("ann", 10 * PRICE_MINOR).await;
    let pays = [&held[0], &held[2]].map(|held| {
        let held = held.as_ref().expect("holds");
        sale.paying("ann", &held.reservation.id)
    });
    let paid = world.together::<Payments>(pays.to_vec()).await;
    let completed: Vec<bool> = paid
        .iter()
        .map(|paid| paid.as_ref().expect("pays").completed.is_some())
        .collect();
    assert_eq!(completed, [false, true]);
    let row = world.store.activation(pass).await.expect("reads");
    assert_eq!(row.state, ActivationState::Ended(EndReason::Completed));
}

#[tokio::test]
async fn the_payment_that_sells_the_last_seat_says_so() {
    on_each(|world| last_seat(world).boxed()).await;
}

async fn last_seat(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    let mut pays = Vec::new();
    for (n, who) in ["ann", "bob", "cat", "dan", "eve"].into_iter().enumerate() {
        let pass = sale.activate(&room, who, 0, 600_000).await;
        let seats = [format!("s1-r1-{}", n + 1), format!("s1-r2-{}", n + 1)];
        let seats: Vec<&str> = seats.iter().map(String::as_str).collect();
        let held = sale
            .hold_with(who, &performance, &seats, pass)
            .await
            .expect("holds");
        sale.top_up(who, 2 * PRICE_MINOR).await;
        pays.push(sale.paying(who, &held.id));
    }
    let paid = world.together::<Payments>(pays).await;
    let recheck: Vec<bool> = paid
        .iter()
        .map(|paid| {
            paid.as_ref()
                .expect("pays")
                .changed
                .recheck_sold_out
                .is_some()
        })
        .collect();
    assert_eq!(recheck, [false, false, false, false, true]);
}
