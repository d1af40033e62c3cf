//! Best available, blocking, seat maps.

use super::fixture::{
    HOLD_TTL_MS, PRICE_MINOR, Sale, best, id, ids, money, money_of, section, user,
};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::command::BestAvailable;
use crate::domain::sale::hold::Reservation;
use crate::store::sales::{BlockSeats, SalesError};

fn names(reservation: &Reservation) -> Vec<&str> {
    let seats = reservation.seats.iter();
    seats.map(|seat| seat.seat.as_str()).collect()
}

fn blocking(performance: &ResourceId, seats: &[&str], blocked: bool) -> BlockSeats {
    BlockSeats {
        performance: performance.clone(),
        seats: ids(seats),
        blocked,
        reason: "camera".to_owned(),
    }
}

pub async fn the_best_available_are_chosen_inside(sale: &Sale) {
    let performance = sale.performance().await;
    let first = sale.hold_best("ann", &performance, best(1)).await.unwrap();
    assert_eq!(names(&first), ["s1-r1-3"], "the middle of the front row");
    let second = sale.hold_best("bob", &performance, best(4)).await.unwrap();
    assert_eq!(
        names(&second),
        ["s1-r1-1", "s1-r1-2", "s1-r1-4", "s1-r1-5"],
        "the rest of the front row"
    );
    sale.hold_best("cid", &performance, best(4)).await.unwrap();
    let too_many = sale.hold_best("dan", &performance, best(2)).await;
    assert_eq!(too_many, Err(SalesError::SoldOut));
    sale.hold_best("dan", &performance, best(1)).await.unwrap();
    let none = sale.hold_best("eve", &performance, best(1)).await;
    assert_eq!(none, Err(SalesError::SoldOut));
}

pub async fn the_best_available_respect_section_price_and_neighbours(sale: &Sale) {
    let made = sale
        .performance_with(|terms| {
            terms.sections = vec![section("Front", 500, &[3]), section("Back", 200, &[3, 4])];
        })
        .await;
    let performance = made.id;
    let cheap = BestAvailable {
        max_price: Some(money(200)),
        ..best(1)
    };
    let held = sale.hold_best("ann", &performance, cheap).await.unwrap();
    assert_eq!(names(&held), ["s2-r1-2"]);
    let together = BestAvailable {
        section: Some("Back".to_owned()),
        adjacent: true,
        ..best(2)
    };
    let held = sale.hold_best("bob", &performance, together.clone()).await;
    let held = held.unwrap();
    assert_eq!(names(&held), ["s2-r2-2", "s2-r2-3"], "row 1 has a gap");
    let again = sale.hold_best("cid", &performance, together).await;
    assert_eq!(again, Err(SalesError::SoldOut), "free, but no two together");

    let wrong_currency = BestAvailable {
        max_price: Some(money_of("EUR", 200)),
        ..best(1)
    };
    let refused = sale.hold_best("dan", &performance, wrong_currency).await;
    let expected = money(0).currency;
    assert_eq!(refused, Err(SalesError::CurrencyMismatch { expected }));
    let nowhere = BestAvailable {
        section: Some("Roof' OR 1=1 --".to_owned()),
        ..best(1)
    };
    let refused = sale.hold_best("dan", &performance, nowhere).await;
    assert!(matches!(refused, Err(SalesError::Field(_))), "{refused:?}");
}

pub async fn expired_holds_are_best_available_again(sale: &Sale) {
    let performance = sale.performance().await;
    for who in ["ann", "bob"] {
        sale.hold_best(who, &performance, best(4)).await.unwrap();
    }
    sale.hold_best("cid", &performance, best(2)).await.unwrap();
    let none = sale.hold_best("dan", &performance, best(1)).await;
    assert_eq!(none, Err(SalesError::SoldOut));
    sale.advance_ms(HOLD_TTL_MS).await;
    sale.hold_best("dan", &performance, best(4)).await.unwrap();
}

pub async fn blocked_seats_are_not_sold(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    sale.hold("ann", &performance, &["s1-r1-5"]).await.unwrap();
    let mixed = store.block_seats(blocking(&performance, &["s1-r1-1", "s1-r1-5"], true));
    let taken = ids(&["s1-r1-5"]);
    assert_eq!(
        mixed.await,
        Err(SalesError::SeatUnavailable { seats: taken })
    );
    assert_eq!(
        sale.state(&performance, "s1-r1-1").await,
        SeatState::Available
    );

    let block = blocking(&performance, &["s1-r1-1", "s1-r1-2"], true);
    let blocked = store.block_seats(block.clone()).await.unwrap();
    let states: Vec<SeatState> = blocked.seats.iter().map(|seat| seat.state).collect();
    assert_eq!(states, [SeatState::Blocked; 2]);
    store.block_seats(block).await.unwrap();
    assert_eq!(
        sale.hold("bob", &performance, &["s1-r1-1"]).await,
        Err(SalesError::SeatUnavailable {
            seats: ids(&["s1-r1-1"])
        })
    );
    let back = blocking(&performance, &["s1-r1-1", "s1-r1-3"], false);
    store.block_seats(back).await.unwrap();
    sale.hold("bob", &performance, &["s1-r1-1"]).await.unwrap();

    let silent = BlockSeats {
        reason: " ".to_owned(),
        ..blocking(&performance, &["s1-r1-3"], true)
    };
    let refused = store.block_seats(silent).await;
    assert!(matches!(refused, Err(SalesError::Field(_))));
    let unknown = store.block_seats(blocking(&performance, &["nope"], true));
    assert_eq!(
        unknown.await,
        Err(SalesError::SeatNotInPerformance {
            seats: ids(&["nope"])
        })
    );
    let nowhere = store.block_seats(blocking(&id("nowhere"), &["s1-r1-3"], true));
    assert_eq!(nowhere.await, Err(SalesError::NotFound));
}

pub async fn every_change_raises_the_version(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    let whole = store.seat_map(performance.clone(), None).await.unwrap();
    assert_eq!(whole.seats.len(), 10);
    assert!(
        whole
            .seats
            .iter()
            .all(|seat| seat.price == money(PRICE_MINOR))
    );
    assert_eq!(whole.next_expiry, None);

    let held = sale.hold("ann", &performance, &["s1-r1-1", "s1-r2-2"]);
    let held = held.await.unwrap();
    let changed = |since: u64| {
        let (store, performance) = (sale.store(), performance.clone());
        async move { store.seat_map(performance, Some(since)).await.unwrap() }
    };
    let delta = changed(whole.version).await;
    let ids: Vec<&str> = delta.seats.iter().map(|seat| seat.id.as_str()).collect();
    assert_eq!(ids, ["s1-r1-1", "s1-r2-2"]);
    assert!(delta.version > whole.version);
    let admission = store
        .check_pass(user("bob"), performance.clone(), None)
        .await;
    let admission = admission.unwrap();
    assert_eq!(
        admission.versions.seats, delta.version,
        "the check knows it"
    );
    assert_eq!(admission.versions.performance, whole.performance.version);
    assert_eq!(admission.as_of, sale.now().await);
    assert_eq!(delta.next_expiry, Some(held.expires_at));
    assert!(changed(delta.version).await.seats.is_empty());

    sale.advance_ms(HOLD_TTL_MS).await;
    let swept = store.sweep(10).await.unwrap();
    assert_eq!((swept.holds, swept.more), (1, false));
    assert_eq!(swept.performances, std::slice::from_ref(&performance));
    let freed = changed(delta.version).await;
    let states: Vec<SeatState> = freed.seats.iter().map(|seat| seat.state).collect();
    assert_eq!(states, [SeatState::Available; 2]);
    let nowhere = store.seat_map(id("nowhere"), None).await;
    assert!(matches!(nowhere, Err(SalesError::NotFound)));
}

pub async fn a_sale_that_turns_the_room_sold_out_says_so(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("Box", PRICE_MINOR, &[2])])
        .await;
    let performance = made.id;
    sale.top_up("ann", 1_000).await;
    let first = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let second = sale.hold("ann", &performance, &["s1-r1-2"]).await.unwrap();
    // Protected only now: these holds needed no pass.
    let room = sale.protect(&performance).await.id;
    let store = sale.store();

    let paid = sale.pay("ann", &first.id).await.unwrap();
    assert_eq!(paid.changed.recheck_sold_out, None, "one is only held");
    assert!(!store.is_sold_out(&room).await.unwrap());
    let paid = sale.pay("ann", &second.id).await.unwrap();
    assert_eq!(paid.changed.recheck_sold_out, Some(room.clone()));
    assert!(store.is_sold_out(&room).await.unwrap());
    assert!(
        store
            .performance(performance.clone())
            .await
            .unwrap()
            .sold_out
    );

    let cancelled = sale.cancel("ann", &first.id).await.unwrap();
    assert_eq!(cancelled.changed.recheck_sold_out, Some(room.clone()));
    assert!(!store.is_sold_out(&room).await.unwrap());
    let blocked = store.block_seats(blocking(&performance, &["s1-r1-1"], true));
    let blocked = blocked.await.unwrap();
    assert_eq!(blocked.changed.recheck_sold_out, Some(room.clone()));
    assert!(store.is_sold_out(&room).await.unwrap());
}
