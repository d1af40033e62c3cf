//! How each database carries out what is asked often.
//!
//! Units run on a database of a realistic size whose statistics are fresh; what
//! they ask is recorded ([`Tx::take_asked`]) and explained with the very values.
//! Nothing may be found by reading a whole table that grows, and what has an
//! index of its own must be found by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;

use super::list::Others;
use super::mariadb::tests as mariadb;
use super::outbox::deliverable;
use super::postgres::tests as postgres;
use super::rooms::activations;
use super::sales::asked::{self, Kind};
use super::{Pool, SqlStore, Tx, leases};
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{ActivationId, IdempotencyKey, ResourceId, UserId};
use crate::domain::place::EndReason;
use crate::domain::sale::command::{BestAvailable, SeatChoice};
use crate::domain::sale::currency::Currency;
use crate::domain::time::UnixMs;
use crate::store::outbox::OutboxError;
use crate::store::rooms::{EndCondition, RoomsError};
use crate::store::sales::notices::Reminded;
use crate::store::sales::{
    CancelPerformance, CancelReservation, HoldSeats, IssueCoupon, Once, Page, PayReservation,
    SalesError, SoldTicket, WindUp,
};

mod explain;
mod fill;

use explain::Plan;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("an id")
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

fn once(user_name: &str) -> Once {
    Once {
        user: user(user_name),
        key: IdempotencyKey::parse("once").expect("a key"),
        trace: None,
    }
}

fn holding(user_name: &str, hold: &str, choice: SeatChoice) -> HoldSeats {
    HoldSeats {
        once: once(user_name),
        id: id(hold),
        performance: id("p7"),
        choice,
        activation: None,
    }
}

/// Holds named seats and the best, and pays.
async fn checkout(tx: &Tx) -> Result<(), SalesError> {
    let named = SeatChoice::Named(vec![id("s150"), id("s151")]);
    let best = SeatChoice::BestAvailable(BestAvailable {
        count: 2,
        section: None,
        max_price: None,
        adjacent: true,
    });
    let holds = [holding("u7", "h1", named), holding("u107", "h2", best)];
    let others = Others::Skip;
    asked::Holds::lock(tx, &holds.each_ref(), others).await?;
    let held = asked::Holds::run(tx, &holds.each_ref()).await?;
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    let pay = PayReservation {
        once: once("u7"),
        id: id("pay1"),
        reservation: id("h1"),
        coupon: Some(id("k7")),
    };
    asked::Payments::lock(tx, &[&pay], others).await?;
    let paid = asked::Payments::run(tx, &[&pay]).await?;
    assert!(paid.iter().all(Result::is_ok), "{paid:?}");
    Ok(())
}

/// Redeems, gives back a part, and winds up a performance.
async fn after_the_sale(tx: &Tx) -> Result<(), SalesError> {
    let ticket = SoldTicket {
        performance: id("p8"),
        seat: id("s0"),
        serial: 0,
        reservation: id("r8"),
    };
    assert!(!asked::redeem(tx, &ticket).await?.before);
    let part = CancelReservation {
        once: once("u7"),
        reservation: id("h1"),
        seats: vec![id("s150")],
    };
    asked::cancel(tx, &part).await?;
    let cancel = CancelPerformance {
        once: once("admin"),
        performance: id("p8"),
        reason: "rain".to_owned(),
    };
    asked::cancel_performance(tx, &cancel).await?;
    let step = WindUp {
        performance: id("p8"),
        reservations_max: 5,
        event: None,
    };
    assert!(asked::wind_up(tx, &step).await?.more);
    asked::voided(tx, &id("p8"), UnixMs(0), &Page::new(20, None)).await?;
    assert_eq!(asked::due_intents(tx, "stub", 5).await?.len(), 5);
    assert_eq!(asked::due_refunds(tx, "stub", 5).await?.len(), 5);
    Ok(())
}

/// Deletes what has had its time: each kind, and of a finished sale what was
/// sold and then its seats.
async fn cleans(tx: &Tx) -> Result<(), SalesError> {
    let kept_ms = 86_400_000;
    assert!(asked::events(tx, kept_ms, 50).await?.has_more);
    assert!(asked::intents(tx, kept_ms, 50).await?.has_more);
    assert!(asked::holds(tx, kept_ms, 50).await?.has_more);
    for _step in 0..2 {
        assert!(asked::sales(tx, kept_ms, 100).await?.rows > 0);
    }
    Ok(())
}

/// Asks for what is held, and reminds of what is near.
async fn notices(tx: &Tx) -> Result<(), SalesError> {
    let decades_ms = 200_000_000_000;
    let asked = asked::pay_soon(tx, decades_ms, UnixMs(0), 50).await?;
    assert_eq!(asked.events, 50);
    let after = Reminded::default();
    let reminded = asked::remind(tx, decades_ms, &after, 50).await?;
    assert_eq!(reminded.events, 50);
    Ok(())
}

/// Issues coupons: to who has none and to who has one.
async fn issues(tx: &Tx) -> Result<(), SalesError> {
    let issue = |who: &str| IssueCoupon {
        user: user(who),
        campaign: id("m7"),
        id: id(&format!("new-{who}")),
        activation: Some(ActivationId(
            fill::activation(1_500).parse().expect("an id"),
        )),
    };
    let asked = [issue("u7"), issue("nobody")];
    asked::Issues::lock(tx, &asked.each_ref(), Others::Skip).await?;
    let issued = asked::Issues::run(tx, &asked.each_ref()).await?;
    let already = issued.iter().flatten().map(|issued| issued.already);
    assert_eq!(already.collect::<Vec<_>>(), [true, false], "{issued:?}");
    Ok(())
}

async fn looks(tx: &Tx) -> Result<(), SalesError> {
    asked::map(tx, &id("p7"), None).await?;
    asked::map(tx, &id("p7"), Some(48)).await?;
    let won = Currency::parse("KRW").expect("a currency");
    asked::balance(tx, &user("u7"), won).await?;
    let first = Page::new(20, None);
    asked::reservations(tx, &user("u7"), &first).await?;
    asked::coupons(tx, &user("u7"), &Page::new(20, None)).await?;
    asked::campaign(tx, &id("m7")).await?;
    let holders = asked::holders(tx, &id("m7"), Some(&user("u5")), 100).await?;
    assert_eq!(holders.len(), 100);
    Ok(())
}

async fn turns(tx: &Tx) -> Result<(), RoomsError> {
    let one = |n: u64| ActivationId(fill::activation(n).parse().expect("an id"));
    activations::claim(tx, one(501), 60_000).await?;
    activations::end(tx, one(1), EndCondition::IfExpired).await?;
    activations::end(tx, one(2), EndCondition::Always(EndReason::Left)).await?;
    Ok(())
}

/// All that is asked often, with its plans.
async fn all_plans(store: &SqlStore) -> Vec<Plan> {
    let lane = &store.queues.checkout[0];
    let sales = store.run_queued(Pool::Checkout, lane, (), |tx, ()| {
        async move {
            tx.take_asked().await?;
            checkout(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    let mut plans = sales.await.expect("sells");
    let ends = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            let give_back = CancelReservation {
                once: once("u107"),
                reservation: id("h2"),
                seats: Vec::new(),
            };
            asked::cancel(tx, &give_back).await?;
            asked::sweep(tx, 100).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(ends.await.expect("ends holds"));
    let after = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            after_the_sale(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(after.await.expect("goes on after the sale"));
    let cleaned = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            cleans(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(cleaned.await.expect("cleans"));
    let told = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            notices(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(told.await.expect("gives notice"));
    let issued = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            issues(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(issued.await.expect("issues"));
    let read = store.read((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            looks(tx).await?;
            Ok::<_, SalesError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(read.await.expect("reads"));
    let rooms = store.write((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            turns(tx).await?;
            leases::take(tx, "outbox:3", 1, 1_000).await?;
            Ok::<_, RoomsError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(rooms.await.expect("ends"));
    let outbox = store.read((), |tx, ()| {
        async move {
            tx.take_asked().await?;
            let events = deliverable(tx, 3, 100).await?;
            assert!(!events.is_empty(), "something waits");
            Ok::<_, OutboxError>(explain::explained(tx).await?)
        }
        .boxed()
    });
    plans.extend(outbox.await.expect("takes"));
    plans
}

/// A part of a statement, and the index by which its rows are found.
const FOUND_BY: [(&str, &str); 24] = [
    ("state = 'available' AND row_rank >", "seats_free"),
    ("s.version >", "seats_changed"),
    ("state = 'held' AND expires_at <= ", "reservations_due"),
    ("AS event", "outbox_pending"),
    ("INSERT INTO tickets", explain::KEY),
    (
        "state = 'held', reservation_id = v.reservation",
        explain::KEY,
    ),
    ("serial = serial + 1", explain::KEY),
    ("state = 'confirmed', payment_id = v.id", explain::KEY),
    (
        "SELECT seat_id, serial FROM tickets",
        "tickets_of_reservation",
    ),
    ("FROM accounts WHERE name = ", explain::KEY),
    ("AND voided_at >= ", "tickets_voided"),
    ("DELETE FROM reservation_seats", explain::KEY),
    ("ORDER BY row_rank, number LIMIT", "seats_free"),
    (
        "FROM gateway_events WHERE received_at",
        "gateway_events_age",
    ),
    ("DELETE FROM gateway_events", explain::KEY),
    ("intent.settled_at <= ", "payment_intents_settled"),
    ("FROM reservations AS hold", "reservations_due"),
    ("hold.pay_asked_at IS NULL", "reservations_due"),
    ("DELETE FROM tickets", "tickets_of_reservation"),
    ("k.user_id = v.owner", "coupons_one_each"),
    ("LEFT JOIN coupons AS k ON k.id = v.id", explain::KEY),
    ("payment_id = v.payment, reservation_id", explain::KEY),
    ("SELECT user_id FROM coupons", "coupons_one_each"),
    ("FROM coupons k LEFT JOIN campaigns", "coupons_of_user"),
];

async fn plans_are_as_meant(store: &SqlStore) {
    fill::fill(store).await;
    let plans = all_plans(store).await;
    let scans: Vec<&Plan> = plans.iter().filter(|plan| !plan.scans.is_empty()).collect();
    assert!(scans.is_empty(), "{scans:#?}");
    for (part, index) in FOUND_BY {
        let of_it: Vec<&Plan> = plans
            .iter()
            .filter(|plan| plan.sql.contains(part))
            .collect();
        assert!(!of_it.is_empty(), "nobody asked for {part}");
        // A look that starts from nothing may be cheaper by another.
        let found = of_it.iter().any(|plan| plan.indexes.contains(index));
        assert!(found, "{part} by {index}: {of_it:#?}");
    }
    let used: BTreeSet<&String> = plans.iter().flat_map(|plan| &plan.indexes).collect();
    let named: BTreeSet<&str> = FOUND_BY.iter().map(|(_, index)| *index).collect();
    assert!(used.len() >= named.len(), "{used:?}");
}

#[tokio::test]
async fn sqlite_finds_what_is_asked_often_by_an_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let store = SqlStore::connect(&url, clock).await.expect("opens");
    store.migrate_up().await.expect("migrates");
    plans_are_as_meant(&store).await;
}

#[tokio::test]
async fn postgresql_finds_what_is_asked_often_by_an_index() {
    let (store, _clock, _database) = postgres::open_store(NOW).await;
    plans_are_as_meant(&store).await;
}

#[tokio::test]
async fn mariadb_finds_what_is_asked_often_by_an_index() {
    let (store, _clock, _database) = mariadb::open_store(NOW).await;
    plans_are_as_meant(&store).await;
}
