//! A performance that does not take place.

use futures_util::future::join_all;

use super::fixture::{HOLD_TTL_MS, PRICE_MINOR, Sale, id, ids, money, section, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{PerformanceState, SeatState};
use crate::domain::sale::change::PerformanceChange;
use crate::domain::sale::hold::ReservationState;
use crate::domain::time::UnixMs;
use crate::store::sales::{
    BlockSeats, CancelPerformance, Page, SalesError, SoldTicket, UpdatePerformance, WindUp, WoundUp,
};

fn cancelling(sale: &Sale, performance: &ResourceId) -> CancelPerformance {
    CancelPerformance {
        once: sale.once("admin"),
        performance: performance.clone(),
        reason: "rain".to_owned(),
    }
}

async fn step(sale: &Sale, performance: &ResourceId, event: Option<u64>) -> WoundUp {
    let step = WindUp {
        performance: performance.clone(),
        reservations_max: 2,
        event,
    };
    sale.store().wind_up(step).await.unwrap()
}

async fn wind_up(sale: &Sale, performance: &ResourceId) -> u64 {
    let mut ended = 0;
    loop {
        let done = step(sale, performance, None).await;
        ended += done.reservations;
        sale.assert_clean_audit("a step").await;
        if !done.more {
            return ended;
        }
    }
}

/// Three paid reservations, two holds, and what is left free.
async fn busy(sale: &Sale) -> (ResourceId, Vec<ResourceId>, Vec<ResourceId>) {
    let performance = sale.performance().await;
    let (mut paid, mut held) = (Vec::new(), Vec::new());
    for (index, who) in ["ann", "bob", "cid", "dan", "eve"].into_iter().enumerate() {
        sale.top_up(who, 1_000).await;
        let seat = format!("s1-r1-{}", index + 1);
        let hold = sale.hold(who, &performance, &[&seat]).await.unwrap();
        if index < 3 {
            sale.pay(who, &hold.id).await.unwrap();
            paid.push(hold.id);
        } else {
            held.push(hold.id);
        }
    }
    (performance, paid, held)
}

pub async fn a_cancelled_performance_sells_nothing_more(sale: &Sale) {
    let (performance, _, held) = busy(sale).await;
    let store = sale.store();
    let cancelled = store.cancel_performance(cancelling(sale, &performance));
    let cancelled = cancelled.await.unwrap();
    assert_eq!(cancelled.performance.state, PerformanceState::Cancelled);
    assert_eq!(cancelled.refunds_pending, 3);
    sale.assert_clean_audit("the cancellation").await;
    // From its commit on, whatever is still to be wound up.
    let late = sale.hold("fay", &performance, &["s1-r2-1"]).await;
    assert_eq!(late, Err(SalesError::SaleNotOpen));
    let unpaid = sale.pay("dan", &held[0]).await;
    assert_eq!(unpaid, Err(SalesError::HoldExpired));
    let longer = store.extend_hold(user("dan"), held[0].clone()).await;
    assert_eq!(longer, Err(SalesError::HoldExpired));
    let free = sale.state(&performance, "s1-r2-1").await;
    assert_eq!(free, SeatState::Blocked);
    let unblock = BlockSeats {
        performance: performance.clone(),
        seats: ids(&["s1-r2-1"]),
        blocked: false,
        reason: "sun".to_owned(),
    };
    let refused = store.block_seats(unblock).await;
    assert_eq!(refused, Err(SalesError::SaleNotOpen));
    let change = UpdatePerformance {
        performance: performance.clone(),
        version: cancelled.performance.version,
        change: PerformanceChange::default(),
    };
    let refused = store.update_performance(change).await;
    assert_eq!(refused, Err(SalesError::SaleNotOpen));
    wind_up(sale, &performance).await;
}

pub async fn a_cancelled_performance_gives_all_back(sale: &Sale) {
    let (performance, paid, held) = busy(sale).await;
    let store = sale.store();
    let seen = store.reservation(user("ann"), paid[0].clone()).await;
    let payment = seen.unwrap().payment.unwrap();
    let goodwill = sale.refunding(&payment, Some(money(30)));
    store.refund_payment(goodwill).await.unwrap();
    let nothing = step(sale, &performance, None).await;
    assert_eq!(nothing, WoundUp::default(), "it takes place");

    let cancelled = store.cancel_performance(cancelling(sale, &performance));
    cancelled.await.unwrap();
    // Its owner may be first.
    sale.cancel("bob", &paid[1]).await.unwrap();
    sale.assert_clean_audit("an owner was first").await;
    assert_eq!(wind_up(sale, &performance).await, 4);
    for (who, id, state) in [
        ("ann", &paid[0], ReservationState::Cancelled),
        ("bob", &paid[1], ReservationState::Cancelled),
        ("cid", &paid[2], ReservationState::Cancelled),
        ("dan", &held[0], ReservationState::Released),
        ("eve", &held[1], ReservationState::Released),
    ] {
        let seen = store.reservation(user(who), id.clone()).await.unwrap();
        assert_eq!(seen.state, state, "{who}");
        assert!(seen.tickets.is_empty());
        assert_eq!(sale.balance(who).await, 1_000, "{who}");
    }
    let map = store.seat_map(performance.clone(), None).await.unwrap();
    let blocked = |seat: &crate::domain::sale::catalog::Seat| seat.state == SeatState::Blocked;
    assert!(map.seats.iter().all(blocked), "{:?}", map.seats);
    assert_eq!(map.next_expiry, None);
    assert!(map.performance.sold_out);
    assert_eq!(step(sale, &performance, None).await, WoundUp::default());
}

pub async fn a_redeemed_ticket_is_refunded_with_the_performance(sale: &Sale) {
    let (performance, paid, _) = busy(sale).await;
    let store = sale.store();
    let ticket = |reservation: &ResourceId, seat: &str| SoldTicket {
        performance: performance.clone(),
        seat: id(seat),
        serial: 1,
        reservation: reservation.clone(),
    };
    let (anns, bobs) = (ticket(&paid[0], "s1-r1-1"), ticket(&paid[1], "s1-r1-2"));
    let redeemed_at = sale.now().await;
    store.redeem_ticket(anns.clone()).await.unwrap();
    sale.advance_ms(1_000).await;
    let cancelled = store.cancel_performance(cancelling(sale, &performance));
    cancelled.await.unwrap();
    // From the commit on no gate admits, though none is void yet.
    for ticket in [&anns, &bobs] {
        let refused = store.redeem_ticket(ticket.clone()).await;
        assert_eq!(refused, Err(SalesError::NotFound), "{ticket:?}");
    }
    // Whose ticket was used waits for the house.
    let refused = sale.cancel("ann", &paid[0]).await;
    assert!(
        matches!(refused, Err(SalesError::TicketRedeemed { .. })),
        "{refused:?}"
    );
    wind_up(sale, &performance).await;
    assert_eq!(sale.balance("ann").await, 1_000);
    let page = Page::new(10, None);
    let voided = store.voided_tickets(performance.clone(), UnixMs(0), page);
    let voided = voided.await.unwrap().items;
    let mut seen: Vec<_> = voided.iter().map(|it| (&it.seat, it.redeemed_at)).collect();
    seen.sort();
    let seats = ids(&["s1-r1-1", "s1-r1-2", "s1-r1-3"]);
    let used = [Some(redeemed_at), None, None];
    assert_eq!(seen, seats.iter().zip(used).collect::<Vec<_>>());
}

pub async fn a_cancellation_is_done_once(sale: &Sale) {
    let (performance, _, _) = busy(sale).await;
    let store = sale.store();
    let command = cancelling(sale, &performance);
    let first = store.cancel_performance(command.clone()).await.unwrap();
    wind_up(sale, &performance).await;
    let again = store.cancel_performance(command.clone()).await;
    assert_eq!(again.unwrap(), first, "as first answered");
    let later = store.cancel_performance(cancelling(sale, &performance));
    let later = later.await.unwrap();
    assert_eq!(
        (later.refunds_pending, later.changed.recheck_sold_out),
        (0, None)
    );
    assert_eq!(later.performance.version, first.performance.version);
    let other = CancelPerformance {
        reason: "snow".to_owned(),
        ..command.clone()
    };
    let reused = store.cancel_performance(other).await;
    assert_eq!(reused, Err(SalesError::IdempotencyKeyReused));
    let unknown = store.cancel_performance(cancelling(sale, &id("unknown")));
    assert_eq!(unknown.await, Err(SalesError::NotFound));
    let silent = CancelPerformance {
        reason: " ".to_owned(),
        ..cancelling(sale, &performance)
    };
    let silent = store.cancel_performance(silent).await;
    assert!(matches!(silent, Err(SalesError::Field(_))), "{silent:?}");
}

pub async fn an_event_asks_for_one_step_however_often_it_comes(sale: &Sale) {
    let (performance, _, _) = busy(sale).await;
    let store = sale.store();
    let cancelled = store.cancel_performance(cancelling(sale, &performance));
    cancelled.await.unwrap();
    // Five reservations by twos: the events of versions 1, 2, 3.
    for (version, reservations, more) in [
        (1, 2, true),
        (1, 0, false),
        (2, 2, true),
        (1, 0, false),
        (2, 0, false),
        (3, 1, false),
        (3, 0, false),
    ] {
        let done = step(sale, &performance, Some(version)).await;
        let expected = WoundUp { reservations, more };
        assert_eq!(done, expected, "version {version}");
        sale.assert_clean_audit("a step").await;
    }
}

pub async fn a_room_is_sold_out_when_what_is_left_is_cancelled(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("A", PRICE_MINOR, &[3])])
        .await;
    let room = sale.protect(&made.id).await;
    let store = sale.store();
    let pass = sale.activate(&room, "ann", 0, 300_000).await;
    let held = sale.hold_with("ann", &made.id, &["s1-r1-1"], pass).await;
    let held = held.unwrap();
    assert!(!store.is_sold_out(&room.id).await.unwrap());
    let cancelled = store.cancel_performance(cancelling(sale, &made.id)).await;
    let changed = cancelled.unwrap().changed;
    assert_eq!(changed.recheck_sold_out, Some(room.id.clone()));
    // Though a seat of it is held.
    assert!(store.is_sold_out(&room.id).await.unwrap());
    // The hold runs out and is swept: its seat is not for sale again.
    sale.advance_ms(HOLD_TTL_MS).await;
    sale.sweep_all().await;
    assert!(store.is_sold_out(&room.id).await.unwrap());
    wind_up(sale, &made.id).await;
    let state = sale.state(&made.id, "s1-r1-1").await;
    assert_eq!(state, SeatState::Blocked);
    let seen = store.reservation(user("ann"), held.id).await.unwrap();
    assert_eq!(seen.state, ReservationState::Expired);
}

pub async fn payments_that_race_a_cancellation_are_refunded_or_refused(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("A", PRICE_MINOR, &[24])])
        .await;
    let mut holds = Vec::new();
    for n in 1..=24 {
        let (who, seat) = (format!("user{n}"), format!("s1-r1-{n}"));
        sale.top_up(&who, 1_000).await;
        let held = sale.hold(&who, &made.id, &[&seat]).await.unwrap();
        holds.push((who, held.id));
    }
    let pays = holds.iter().map(|(who, hold)| sale.pay(who, hold));
    let store = sale.store();
    let cancel = async {
        let cancelled = store.cancel_performance(cancelling(sale, &made.id));
        cancelled.await.unwrap();
        // Two at it at once, as a command and the outbox may be.
        tokio::join!(wind_up(sale, &made.id), wind_up(sale, &made.id))
    };
    let (pays, _) = tokio::join!(join_all(pays), cancel);
    for ((who, hold), paid) in holds.iter().zip(pays) {
        let seen = store.reservation(user(who), hold.clone()).await.unwrap();
        let expected = match paid {
            Ok(_) => ReservationState::Cancelled,
            Err(SalesError::HoldExpired) => ReservationState::Released,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(seen.state, expected, "{who}");
        assert_eq!(sale.balance(who).await, 1_000, "{who}");
    }
}
