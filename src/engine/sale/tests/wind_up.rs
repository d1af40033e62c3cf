//! Refunds of a performance that is cancelled: by the command, and by the outbox.

use serde_json::json;

use super::super::{RESERVATIONS_PER_STEP, WindUpConsumer};
use super::*;
use crate::bus::local::LocalSink;
use crate::bus::{EventSink as _, OutboxEvent, Outcome};
use crate::domain::sale::catalog::SeatState;
use crate::engine::relay::Relay;
use crate::metrics::Metrics;
use crate::store::outbox::Outbox as _;
use crate::store::sales::{Audit as _, CancelPerformance, Operators as _, Wallets as _};

/// Each of one seat, paid by `ann`.
const BOUGHT: u32 = RESERVATIONS_PER_STEP + 5;

async fn hall_that_is_sold(test: &mut TestSale) -> ResourceId {
    let small = test.performance().await;
    let found = Catalog::performance(test.store.as_ref(), small).await;
    let mut terms = found.unwrap().terms;
    terms.sections[0].rows[0].seat_count = BOUGHT;
    terms.seats_per_user_max = BOUGHT;
    let once = test.once("admin");
    let hall = test.sale.create_performance(once, terms).await;
    let hall = hall.unwrap().id;
    for n in 0..=BOUGHT / 10 {
        let once = test.once(&format!("ann{n}"));
        test.sale.top_up(once, euros(10_000)).await.unwrap();
    }
    for n in 0..BOUGHT {
        let who = format!("ann{}", n / 10);
        let seat = ResourceId::parse(&format!("s1-r1-{}", n + 1)).unwrap();
        let choice = SeatChoice::Named(vec![seat]);
        let once = test.once(&who);
        let held = test.sale.hold_seats(once, hall.clone(), choice, None).await;
        let once = test.once(&who);
        let paid = test
            .sale
            .pay_reservation(once, held.unwrap().id, None)
            .await;
        paid.unwrap();
    }
    hall
}

fn cancelling(test: &mut TestSale, performance: &ResourceId) -> CancelPerformance {
    CancelPerformance {
        once: test.once("admin"),
        performance: performance.clone(),
        reason: "rain".to_owned(),
    }
}

/// What the outbox asks for, until it asks for nothing.
async fn relay(test: &TestSale) {
    let refunds = WindUpConsumer::new(test.sale.clone(), Arc::new(LocalSink::default()));
    let relay = Relay::new(test.store.clone(), Arc::new(refunds), 1, &Metrics::new());
    while test.store.backlog().await.unwrap().pending > 0 {
        if relay.step().await.unwrap().settled == 0 {
            // What failed waits a moment.
            test.clock.advance_ms(500);
        }
        assert!(test.store.audit().await.unwrap().is_clean());
    }
}

async fn assert_all_is_given_back(test: &TestSale, performance: &ResourceId) {
    let of = euros(0).currency;
    for n in 0..BOUGHT / 10 {
        let wallet = UserId::parse(&format!("ann{n}")).unwrap();
        let balance = test.store.balance(wallet, of).await;
        assert_eq!(balance, Ok(euros(10_000)));
    }
    let map = test.store.seat_map(performance.clone(), None).await;
    let seats = map.unwrap().seats;
    assert!(seats.iter().all(|seat| seat.state == SeatState::Blocked));
}

#[tokio::test]
async fn refunds_go_on_by_the_outbox_where_the_command_stopped() {
    for point in [Point::PerformanceCancelled, Point::RefundsCommitted] {
        let mut test = TestSale::open().await;
        let hall = hall_that_is_sold(&mut test).await;
        let command = cancelling(&mut test, &hall);
        test.failpoints.arm(point, Action::Error, 0);
        let lost = test.sale.cancel_performance(command.clone()).await;
        let is_lost = matches!(lost, Err(SalesError::Unavailable(_)));
        assert_eq!(is_lost, point == Point::PerformanceCancelled, "{lost:?}");
        // Whatever the command does is over.
        test.tasks.close();
        tokio::time::timeout(PATIENCE, test.tasks.wait())
            .await
            .unwrap();
        assert!(test.store.audit().await.unwrap().is_clean());
        relay(&test).await;
        assert_all_is_given_back(&test, &hall).await;
        let again = test.store.cancel_performance(command).await.unwrap();
        assert_eq!(again.refunds_pending, u64::from(BOUGHT), "as first given");
    }
}

#[tokio::test]
async fn a_step_whose_event_comes_again_is_done_once() {
    let mut test = TestSale::open().await;
    let hall = hall_that_is_sold(&mut test).await;
    let command = cancelling(&mut test, &hall);
    test.store.cancel_performance(command).await.unwrap();
    // Committed, and never marked as delivered.
    test.failpoints
        .arm(Point::RefundsCommitted, Action::Error, 0);
    let refunds = WindUpConsumer::new(test.sale.clone(), Arc::new(LocalSink::default()));
    let relay_once = Relay::new(test.store.clone(), Arc::new(refunds), 1, &Metrics::new());
    relay_once.step().await.unwrap();
    let pending = test.store.backlog().await.unwrap().pending;
    relay(&test).await;
    assert!(pending > 0);
    assert_all_is_given_back(&test, &hall).await;
}

#[tokio::test]
async fn refunds_that_fail_hold_back_their_performance_alone() {
    let mut test = TestSale::open().await;
    let hall = hall_that_is_sold(&mut test).await;
    let command = cancelling(&mut test, &hall);
    test.store.cancel_performance(command).await.unwrap();
    let refunds = WindUpConsumer::new(test.sale.clone(), Arc::new(LocalSink::default()));
    let event = |about: &str, version: u64, kind: &str, payload: String| OutboxEvent {
        id: format!("{about}-{version}"),
        aggregate: format!("performance:{about}"),
        version,
        kind: kind.to_owned(),
        payload,
        created_at: UnixMs(0),
        route: None,
        trace: None,
    };
    let of = |performance: &str| json!({ "performance_id": performance }).to_string();
    let cancelled = "performance.cancelled";
    let batch = [
        event("hall", 1, cancelled, of(hall.as_str())),
        event("garbled", 1, cancelled, "{}".to_owned()),
        event("nowhere", 1, cancelled, of("nowhere")),
        event("hall", 2, "performance.updated", of(hall.as_str())),
        event("other", 1, "performance.updated", of("other")),
    ];
    let failing = Point::RefundsCommitted;
    test.failpoints.arm(failing, Action::Error, 0);
    let told = refunds.deliver(&batch).await;
    let taken = Outcome::Taken { route: None };
    assert_eq!(told.outcomes[0], Outcome::Waits);
    assert!(matches!(told.outcomes[1], Outcome::Refused(_)), "{told:?}");
    assert!(matches!(told.outcomes[2], Outcome::Refused(_)), "{told:?}");
    assert_eq!(told.outcomes[3..], [Outcome::Waits, taken.clone()]);
    let again = refunds.deliver(&batch).await;
    assert_eq!(again.outcomes[0], taken);
    assert_eq!(again.outcomes[3], taken);
    // One that asks for many leaves some of them to the next.
    let many: Vec<OutboxEvent> = (0..20)
        .map(|n| event(&format!("p{n}"), 1, cancelled, of(hall.as_str())))
        .collect();
    let told = refunds.deliver(&many).await;
    let later = told.outcomes.iter().filter(|it| **it == Outcome::Later);
    assert_eq!(later.count(), 12);
    relay(&test).await;
    assert_all_is_given_back(&test, &hall).await;
}

#[tokio::test]
async fn a_cancellation_refunds_by_itself_and_rechecks_the_room() {
    let mut test = TestSale::open().await;
    let hall = hall_that_is_sold(&mut test).await;
    let (room, _) = test.pass(&hall).await;
    let command = cancelling(&mut test, &hall);
    let cancelled = test.sale.cancel_performance(command).await.unwrap();
    assert_eq!(cancelled.refunds_pending, u64::from(BOUGHT));
    assert_eq!(test.heard().await, Told::Recheck(room));
    let is_over = async {
        while test
            .store
            .seat_map(hall.clone(), None)
            .await
            .unwrap()
            .seats
            .iter()
            .any(|seat| seat.state != SeatState::Blocked)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_over).await.unwrap();
    assert_all_is_given_back(&test, &hall).await;
}
