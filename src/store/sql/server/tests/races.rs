//! Many nodes on one database, each a store with connections of its own, by the
//! server's clock: what one writer cannot show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use uuid::Uuid;

use super::{TestDatabase, open, pause, settings};
use crate::bus::OutboxEvent;
use crate::domain::ids::{ActivationId, PlaceKey, ResourceId, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::domain::policy::RoomPolicy;
use crate::domain::sale::command::SeatChoice;
use crate::store::outbox::{OUTBOX_PARTITIONS, Outbox, OutboxError};
use crate::store::rooms::{
    Claimed, EndCondition, NewActivation, NewRoom, RoomRegistry, RoomsError,
};
use crate::store::sales::conformance::{Sale, Subject, coupons, races, redeemed};
use crate::store::sales::{Catalog, FirstCatalog, Sales, SalesError, SalesStore, Wallets};
use crate::store::sql::{DatabaseClock, SqlStore, outbox};

/// Answers another node at each call.
struct Nodes {
    stores: Vec<Arc<SqlStore>>,
    next: AtomicUsize,
    _database: TestDatabase,
}

impl Nodes {
    async fn open(count: usize) -> Arc<Self> {
        let database = TestDatabase::new();
        let mut stores = Vec::new();
        for _ in 0..count {
            let mut settings = settings(&database.url);
            settings.write_connections = 3;
            settings.read_connections = 1;
            stores.push(Arc::new(open(settings, DatabaseClock::Server).await));
        }
        Arc::new(Self {
            stores,
            next: AtomicUsize::new(0),
            _database: database,
        })
    }

    fn one(&self) -> Arc<SqlStore> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.stores[turn % self.stores.len()])
    }

    async fn room(&self) -> RoomRef {
        let room = NewRoom {
            id: RoomId::parse("room").expect("an id"),
            display_name: String::new(),
            policy: RoomPolicy::default(),
            draw_secret: [0; 32],
            asked: None,
        };
        let made = self.one().create_room(room).await.expect("creates");
        RoomRef {
            id: made.id,
            epoch: made.epoch,
        }
    }

    /// All events that are not published, whoever leads.
    async fn events(&self) -> Vec<OutboxEvent> {
        let mut all = Vec::new();
        for partition in 0..OUTBOX_PARTITIONS {
            let batch = self.stores[0].claim_batch(partition, 1, 1_000, 10_000);
            all.extend(batch.await.expect("claims"));
        }
        all
    }
}

#[async_trait]
impl Subject for Nodes {
    fn store(&self) -> Arc<dyn SalesStore> {
        self.one()
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.one()
    }

    async fn advance_ms(&self, _step_ms: u64) {
        panic!("nobody moves the server's clock");
    }
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("an id")
}

fn count<T>(outcomes: &[T], is: impl Fn(&T) -> bool) -> usize {
    outcomes.iter().filter(|one| is(one)).count()
}

#[tokio::test]
async fn a_thousand_holds_on_one_seat_have_one_winner() {
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    let performance = sale.performance().await;
    let seat = || SeatChoice::Named(vec![id("s1-r1-1")]);
    let calls = (0..1_000).map(|n| {
        let command = sale.holding(&format!("user{n}"), &performance, seat());
        let node = nodes.one();
        async move { node.hold_seats(command).await }.boxed()
    });
    let outcomes = join_all(calls.collect::<Vec<_>>()).await;
    assert_eq!(count(&outcomes, Result::is_ok), 1);
    let refused = count(&outcomes, |outcome| {
        matches!(outcome, Err(SalesError::SeatUnavailable { .. }))
    });
    assert_eq!(refused, 999, "{outcomes:?}");
    sale.assert_clean_audit("a hot seat").await;
}

#[tokio::test]
async fn the_sales_races_hold_between_nodes() {
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    races::limits_hold_in_parallel(&sale).await;
    sale.assert_clean_audit("limits").await;
    races::the_best_available_are_never_given_twice(&sale).await;
    sale.assert_clean_audit("the best available").await;
}

#[tokio::test]
async fn nodes_issue_exactly_the_stock_together() {
    let nodes = Nodes::open(3).await;
    let sale = Sale::new(nodes.clone());
    coupons::exactly_the_stock_is_issued_to_thousands_at_once(&sale).await;
    sale.assert_clean_audit("a stock").await;
    coupons::one_user_who_asks_a_hundred_times_at_once_takes_one(&sale).await;
    coupons::a_raised_stock_is_issued_again(&sale).await;
    coupons::issuing_completes_the_pass(&sale).await;
    sale.assert_clean_audit("coupons").await;
}

#[tokio::test]
async fn of_payments_on_several_nodes_one_uses_a_coupon() {
    let nodes = Nodes::open(3).await;
    let sale = Sale::new(nodes.clone());
    redeemed::of_two_payments_at_once_one_uses_the_coupon(&sale).await;
    sale.assert_clean_audit("wallets").await;
    redeemed::a_wallet_and_a_provider_do_not_share_a_coupon(&sale).await;
    sale.assert_clean_audit("a wallet and a provider").await;
}

#[tokio::test]
async fn payments_race_between_nodes() {
    for _ in 0..2 {
        let nodes = Nodes::open(4).await;
        let sale = Sale::new(nodes.clone());
        races::one_of_many_payments_wins(&sale).await;
        sale.assert_clean_audit("one payment").await;
    }
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    races::cancel_and_pay_exclude_each_other(&sale).await;
    sale.assert_clean_audit("cancel and pay").await;
}

/// Money for three of twelve, each of another performance, so that nothing but
/// the wallet keeps them apart.
#[tokio::test]
async fn a_wallet_is_never_spent_twice() {
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    sale.top_up("ann", 3 * 100).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        let performance = sale.performance().await;
        held.push(
            sale.hold("ann", &performance, &["s1-r1-1"])
                .await
                .expect("holds")
                .id,
        );
    }
    let outcomes = join_all(held.iter().map(|held| sale.pay("ann", held))).await;
    assert_eq!(count(&outcomes, Result::is_ok), 3);
    let poor = Err(SalesError::InsufficientFunds);
    assert_eq!(
        count(&outcomes, |outcome| *outcome == poor),
        9,
        "{outcomes:?}"
    );
    assert_eq!(sale.balance("ann").await, 0);
    sale.assert_clean_audit("double spend").await;
}

#[tokio::test]
async fn parallel_top_ups_of_one_wallet_all_count() {
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    let outcomes = join_all((0..60).map(|_| sale.top_up("ann", 7))).await;
    let after: BTreeSet<u64> = outcomes.iter().map(|entry| entry.sequence).collect();
    assert_eq!(after.len(), 60, "each has a place in the ledger");
    assert_eq!(sale.balance("ann").await, 60 * 7);
    sale.assert_clean_audit("top-ups").await;
}

#[tokio::test]
async fn one_key_has_one_effect_on_all_nodes() {
    let nodes = Nodes::open(8).await;
    let sale = Sale::new(nodes.clone());
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale
        .hold("ann", &performance, &["s1-r1-1"])
        .await
        .expect("holds");
    let command = sale.paying("ann", &held.id);
    let calls = (0..32).map(|_| {
        let (node, mut command) = (nodes.one(), command.clone());
        command.id = id(&sale.fresh());
        async move { node.pay_reservation(command).await }
    });
    let outcomes = join_all(calls).await;
    assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));

    // The cap leaves room for one: a repeat must not be refused for it.
    let deposit = crate::store::sales::Deposit {
        balance_max_minor: 900 + 150,
        ..sale.deposit(
            "ann",
            crate::domain::sale::money::Money::new(held.total.currency, 150),
        )
    };
    let calls = (0..32).map(|_| {
        let (node, mut deposit) = (nodes.one(), deposit.clone());
        deposit.id = id(&sale.fresh());
        async move { node.top_up(deposit).await }
    });
    let outcomes = join_all(calls).await;
    assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    assert_eq!(sale.balance("ann").await, 900 + 150);
    sale.assert_clean_audit("one key").await;
}

#[tokio::test]
async fn of_eight_nodes_that_raise_an_epoch_one_does() {
    let nodes = Nodes::open(8).await;
    let mut room = nodes.room().await;
    for round in 1..=5 {
        let raises = nodes.stores.iter().map(|node| node.raise_epoch(&room, 100));
        let outcomes = join_all(raises).await;
        assert_eq!(count(&outcomes, Result::is_ok), 1, "round {round}");
        let fenced = Err(RoomsError::Fenced);
        assert_eq!(count(&outcomes, |outcome| *outcome == fenced), 7);
        let winner = outcomes.into_iter().flatten().next().expect("one");
        assert_eq!(winner.room.epoch, round);
        assert_eq!(winner.lanes[0].reserved_to, round * 100);
        room.epoch = round;
    }
}

#[tokio::test]
async fn reserved_numbers_only_rise_whoever_asks() {
    let nodes = Nodes::open(8).await;
    let room = nodes.room().await;
    let asks = (1..=64_u64).map(|n| {
        let (node, room) = (nodes.one(), room.clone());
        async move { (n * 10, node.reserve_numbers(&room, 0, n * 10).await) }
    });
    for (asked, reserved) in join_all(asks).await {
        let reserved = reserved.expect("reserves");
        assert!((asked..=640).contains(&reserved), "{asked}: {reserved}");
    }
    assert_eq!(nodes.one().reserve_numbers(&room, 0, 1).await, Ok(640));
    // A node of an older epoch reserves nothing more.
    nodes.one().raise_epoch(&room, 100).await.expect("raises");
    let late = nodes.one().reserve_numbers(&room, 0, 10_000).await;
    assert_eq!(late, Err(RoomsError::Fenced));
}

async fn activate(node: &SqlStore, room: &RoomRef, number: u64) -> ActivationId {
    let place = NewActivation {
        id: ActivationId(Uuid::new_v4()),
        place: PlaceKey { lane: 0, number },
        user: UserId::parse("ann").expect("an id"),
    };
    let rows = node
        .insert_activations(room, vec![place], 60_000, 60_000)
        .await;
    rows.expect("inserts")[0].id
}

#[tokio::test]
async fn a_place_is_activated_once_whoever_grants_it() {
    let nodes = Nodes::open(8).await;
    let room = nodes.room().await;
    for number in 1..=5 {
        let all = nodes
            .stores
            .iter()
            .map(|node| activate(node, &room, number));
        let ids: BTreeSet<String> = join_all(all)
            .await
            .iter()
            .map(|id| id.0.to_string())
            .collect();
        assert_eq!(ids.len(), 1, "number {number}");
    }
}

#[tokio::test]
async fn a_claim_and_an_end_that_race_leave_one_outcome_and_one_event() {
    let nodes = Nodes::open(8).await;
    let room = nodes.room().await;
    for number in 1..=6 {
        let id = activate(&nodes.one(), &room, number).await;
        let left = EndCondition::Always(EndReason::Left);
        let revoked = EndCondition::Always(EndReason::Revoked);
        let (a, b, c, d) = tokio::join!(
            nodes.stores[0].claim_activation(id, 60_000),
            nodes.stores[1].end_activation(id, left),
            nodes.stores[2].claim_activation(id, 60_000),
            nodes.stores[3].end_activation(id, revoked),
        );
        let ends = [b.expect("ends"), d.expect("ends")];
        assert_eq!(ends[0].state, ends[1].state, "the first reason stays");
        for claimed in [a, c] {
            // Before the end, or after it: never late, never twice.
            let claimed = claimed.expect("claims");
            assert!(!matches!(claimed, Claimed::Late(_)), "{claimed:?}");
        }
    }
    let events = nodes.events().await;
    let ends: BTreeSet<&str> = events
        .iter()
        .map(|event| event.aggregate.as_str())
        .collect();
    assert_eq!(
        (events.len(), ends.len()),
        (6, 6),
        "each slot is freed once"
    );
}

/// A hold is made under a pass that lives, or not at all, however an operator's
/// revocation and a payment that completes the pass come in between.
#[tokio::test]
async fn a_pass_that_ends_while_seats_are_held_is_never_used_after_its_end() {
    let nodes = Nodes::open(4).await;
    let sale = Sale::new(nodes.clone());
    sale.top_up("ann", 10_000).await;
    for _ in 0..8 {
        let performance = sale.performance().await;
        let room = sale.protect(&performance).await;
        let pass = sale.activate(&room, "ann", 0, 60_000).await;
        let first = sale
            .hold_with("ann", &performance, &["s1-r1-1"], pass)
            .await;
        let first = first.expect("holds");
        let (_paid, second, third, ()) = tokio::join!(
            sale.pay("ann", &first.id),
            sale.hold_with("ann", &performance, &["s1-r1-2"], pass),
            sale.hold_with("ann", &performance, &["s1-r1-3"], pass),
            sale.end(pass, EndReason::Revoked),
        );
        for held in [second, third] {
            assert!(
                held.is_ok() || held == Err(SalesError::PassEnded),
                "{held:?}"
            );
        }
    }
    sale.assert_clean_audit("passes").await;
}

#[tokio::test]
async fn of_nodes_that_start_on_an_empty_database_one_makes_the_first_catalog() {
    let nodes = Nodes::open(6).await;
    let catalog = |n: usize| FirstCatalog {
        concerts: vec![(
            id(&format!("concert-{n}")),
            crate::domain::sale::catalog::NewConcert {
                name: "Evening".to_owned(),
                description: String::new(),
                venue: String::new(),
            },
        )],
        performances: Vec::new(),
        rooms: Vec::new(),
    };
    let makes = nodes.stores.iter().enumerate();
    let made = join_all(makes.map(|(n, node)| node.create_first(catalog(n)))).await;
    assert_eq!(count(&made, |made| *made == Ok(true)), 1, "{made:?}");
    assert_eq!(count(&made, |made| *made == Ok(false)), 5);
}

/// Two relays, events that commit in another order than they were numbered in:
/// every event is delivered, and those of an aggregate in their order.
#[tokio::test]
async fn two_relays_skip_nothing_and_keep_the_order_of_an_aggregate() {
    let nodes = Nodes::open(4).await;
    const AGGREGATES: usize = 8;
    const EACH: u64 = 20;
    let append = |n: usize| {
        let node = nodes.one();
        async move {
            let aggregate = format!("order:{}", n % AGGREGATES);
            let appended: Result<(), OutboxError> = node
                .write((aggregate, n), |tx, (aggregate, n)| {
                    async move {
                        outbox::append(tx, aggregate, "order.paid", &serde_json::json!({}));
                        pause(tx, [0.0, 0.01, 0.02][n % 3]).await?;
                        Ok(())
                    }
                    .boxed()
                })
                .await;
            appended.expect("appends");
        }
    };
    let total = AGGREGATES * usize::try_from(EACH).expect("small");
    let relays = async {
        let (one, other) = (relay(&nodes.stores[0], 1), relay(&nodes.stores[1], 2));
        tokio::join!(one, other)
    };
    let appending = join_all((0..total).map(append));
    let (_, (mut delivered, others)) = tokio::join!(appending, relays);
    delivered.extend(others);
    let mut by_aggregate: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for event in &delivered {
        by_aggregate
            .entry(event.aggregate.clone())
            .or_default()
            .insert(event.version);
    }
    assert_eq!(by_aggregate.len(), AGGREGATES);
    for (aggregate, versions) in by_aggregate {
        assert!(versions.into_iter().eq(1..=EACH), "{aggregate}");
    }
    assert!(nodes.events().await.is_empty());
}

/// Delivers until nothing came for a while; the order within each aggregate is
/// checked as it goes.
async fn relay(node: &SqlStore, relay: u64) -> Vec<OutboxEvent> {
    let mut delivered: Vec<OutboxEvent> = Vec::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut idle = 0;
    while idle < 40 {
        idle += 1;
        for partition in 0..OUTBOX_PARTITIONS {
            let batch = match node.claim_batch(partition, relay, 60_000, 3).await {
                Ok(batch) => batch,
                Err(OutboxError::LeaseHeld { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            for event in &batch {
                let before = last.insert(event.aggregate.clone(), event.version);
                assert!(
                    before.unwrap_or(0) < event.version,
                    "{event:?} after {before:?}"
                );
            }
            node.mark_published(&batch).await.expect("marks");
            if !batch.is_empty() {
                idle = 0;
            }
            delivered.extend(batch);
        }
    }
    // The next one may lead.
    for partition in 0..OUTBOX_PARTITIONS {
        node.release(partition, relay).await.expect("releases");
    }
    delivered
}
