//! The inbox's promises on each database, and figures against a sale.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::store::outbox::Outbox;
use crate::store::sales::SalesStore;
use crate::store::sales::conformance::Subject;
use crate::store::sales::conformance::fixture::{Sale, best, money, section};
use crate::store::sql::{mariadb, postgres};

mod backfill;
mod ranked;

const DAY_MS: u64 = 86_400_000;

struct Sqlite {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl Sqlite {
    async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, shared_clock).await.expect("opens");
        store.migrate_up().await.expect("migrates");
        Self {
            store: Arc::new(store),
            clock,
            _dir: dir,
        }
    }
}

#[async_trait]
impl Subject for Sqlite {
    fn store(&self) -> Arc<dyn SalesStore> {
        self.store.clone()
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.store.clone()
    }

    async fn advance_ms(&self, step_ms: u64) {
        self.clock.advance_ms(step_ms);
    }
}

fn event(id: &str, kind: &str, payload: serde_json::Value) -> OutboxEvent {
    OutboxEvent {
        id: id.to_owned(),
        aggregate: format!("reservation:{id}"),
        version: 1,
        kind: kind.to_owned(),
        payload: payload.to_string(),
        created_at: UnixMs(20_000 * DAY_MS),
        route: None,
        trace: None,
    }
}

fn confirmed(id: &str, seats: &[&str]) -> OutboxEvent {
    let payload = json!({
        "reservation_id": "r", "performance_id": "p", "user_id": "ann", "seat_ids": seats,
        "total": money(100), "payment_id": "pay",
    });
    event(id, "reservation.confirmed", payload)
}

fn succeeded(id: &str, amount_minor: i64) -> OutboxEvent {
    let payload = json!({ "performance_id": "p", "amount": money(amount_minor) });
    event(id, "payment.succeeded", payload)
}

async fn sold(store: &SqlStore) -> (u64, Vec<i64>) {
    let figures = store
        .sales_figures(None)
        .await
        .expect("reads")
        .expect("all");
    let revenue = figures.revenue.iter().map(|money| money.amount_minor);
    (figures.sold, revenue.collect())
}

/// Runs a promise on each database.
macro_rules! on_each_database {
    ($($promise:ident)+) => {$(
        mod $promise {
            use super::*;

            #[tokio::test]
            async fn sqlite() {
                let opened = Sqlite::open().await;
                super::promises::$promise(Arc::clone(&opened.store)).await;
            }

            #[tokio::test]
            async fn postgres() {
                let now = UnixMs(1_700_000_000_000);
                let (store, _clock, _database) = postgres::tests::open_store(now).await;
                super::promises::$promise(store).await;
            }

            #[tokio::test]
            async fn mariadb() {
                let now = UnixMs(1_700_000_000_000);
                let (store, _clock, _database) = mariadb::tests::open_store(now).await;
                super::promises::$promise(store).await;
            }
        }
    )+};
}

on_each_database! {
    an_event_counts_once_however_often_it_comes
    nodes_that_are_handed_the_same_events_count_them_once
    a_batch_with_an_unreadable_event_counts_nothing
    a_parked_event_counts_when_it_is_redriven_and_once
    parked_events_are_read_page_by_page_and_discarded_for_good
    a_long_event_travels_whole
    old_notes_are_forgotten
    lists_are_ranked_on_every_database
}

mod promises {
    use super::*;

    type Store = Arc<SqlStore>;
    const SALES: Projection = Projection::Sales;

    pub async fn an_event_counts_once_however_often_it_comes(store: Store) {
        let batch = [
            confirmed("1", &["a", "b"]),
            succeeded("2", 100),
            confirmed("1", &["a", "b"]),
        ];
        let fresh = store.project(SALES, &batch, Coming::Fresh).await;
        assert_eq!(fresh, Ok(2));
        let again = [succeeded("2", 100), confirmed("3", &["c"])];
        assert_eq!(store.project(SALES, &again, Coming::Fresh).await, Ok(1));
        assert_eq!(store.project(SALES, &again, Coming::Fresh).await, Ok(0));
        assert_eq!(sold(&store).await, (3, vec![100]));
        // Another consumer has an inbox of its own.
        let ranking = Projection::Ranking;
        assert_eq!(store.project(ranking, &batch, Coming::Fresh).await, Ok(2));
    }

    pub async fn nodes_that_are_handed_the_same_events_count_them_once(store: Store) {
        let batch: Vec<_> = (0..600)
            .map(|id| confirmed(&id.to_string(), &["a"]))
            .collect();
        let hand_over = || async {
            let mut fresh = None;
            // Whoever meets another comes again.
            while fresh.is_none() {
                fresh = store.project(SALES, &batch, Coming::Fresh).await.ok();
            }
            fresh.unwrap_or_default()
        };
        let fresh = join_all((0..4).map(|_| hand_over())).await;
        assert_eq!(fresh.iter().sum::<usize>(), 600);
        assert_eq!(sold(&store).await.0, 600);
    }

    pub async fn a_batch_with_an_unreadable_event_counts_nothing(store: Store) {
        let broken = event("2", "payment.succeeded", json!({ "amount": 5 }));
        let batch = [confirmed("1", &["a"]), broken];
        let refused = store.project(SALES, &batch, Coming::Fresh).await;
        assert!(matches!(refused, Err(InboxError::Refused { id, .. }) if id == "2"));
        assert_eq!(sold(&store).await, (0, vec![]));
        assert_eq!(
            store.project(SALES, &batch[..1], Coming::Fresh).await,
            Ok(1)
        );
    }

    pub async fn a_parked_event_counts_when_it_is_redriven_and_once(store: Store) {
        let parked = confirmed("1", &["a"]);
        assert_eq!(store.park("sales", &parked, "planted").await, Ok(true));
        assert_eq!(store.park("sales", &parked, "again").await, Ok(false));
        let batch = std::slice::from_ref(&parked);
        assert_eq!(store.project(SALES, batch, Coming::Fresh).await, Ok(0));
        let letters = store
            .dead_letters(Some("sales"), None, 10)
            .await
            .expect("reads");
        assert_eq!(letters.len(), 1);
        assert_eq!(
            (&letters[0].event, letters[0].why.as_str()),
            (&parked, "planted")
        );
        assert_eq!(store.count_dead_letters().await, Ok(1));
        assert!(
            store
                .dead_letters(Some("ranking"), None, 10)
                .await
                .expect("reads")
                .is_empty()
        );

        assert_eq!(store.project(SALES, batch, Coming::Redriven).await, Ok(1));
        assert_eq!(store.project(SALES, batch, Coming::Redriven).await, Ok(0));
        assert_eq!(store.project(SALES, batch, Coming::Fresh).await, Ok(0));
        assert_eq!(sold(&store).await.0, 1);
        assert_eq!(store.count_dead_letters().await, Ok(0));
    }

    pub async fn parked_events_are_read_page_by_page_and_discarded_for_good(store: Store) {
        for id in 0..7 {
            let event = confirmed(&id.to_string(), &["a"]);
            for consumer in ["sales", "ranking"] {
                let parked = store.park(consumer, &event, "planted").await;
                assert_eq!(parked, Ok(true));
            }
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.dead_letters(None, after.as_ref(), 3).await;
            let Some(last) = page.as_ref().expect("reads").last().cloned() else {
                break;
            };
            after = Some(last);
            let names = |letter: DeadLetter| (letter.event.id, letter.consumer);
            seen.extend(page.expect("reads").into_iter().map(names));
        }
        let all =
            (0..7).flat_map(|id| ["ranking", "sales"].map(|c| (id.to_string(), c.to_owned())));
        seen.sort();
        assert_eq!(seen, all.collect::<Vec<_>>());

        assert_eq!(store.discard(Some("sales"), "3").await, Ok(1));
        assert_eq!(store.discard(Some("sales"), "3").await, Ok(0));
        assert_eq!(store.discard(None, "4").await, Ok(2));
        assert_eq!(store.count_dead_letters().await, Ok(11));
        let discarded = [confirmed("3", &["a"]), confirmed("4", &["a"])];
        for coming in [Coming::Fresh, Coming::Redriven] {
            assert_eq!(store.project(SALES, &discarded, coming).await, Ok(0));
        }
        assert_eq!(sold(&store).await.0, 0);
    }

    /// Longer than a TEXT of MariaDB.
    pub async fn a_long_event_travels_whole(store: Store) {
        let payload = json!({ "text": "ü".repeat(150_000) });
        let left = store.leave_events(vec![crate::store::sql::outbox::Event {
            aggregate: "reservation:1".to_owned(),
            kind: "reservation.confirmed",
            payload: payload.clone(),
            trace: None,
        }]);
        left.await.expect("leaves");
        let alone = store.write(payload.clone(), |tx, payload| {
            async move {
                let kind = "reservation.confirmed";
                crate::store::sql::outbox::append(tx, "reservation:2", kind, payload);
                Ok::<_, InboxError>(())
            }
            .boxed()
        });
        alone.await.expect("leaves");
        let events = store.claim(7, 30_000, 100).await.expect("claims");
        assert_eq!(events.len(), 2);
        let text = payload.to_string();
        for event in &events {
            assert_eq!(event.payload, text);
            let parked = store.park("sales", event, "planted").await;
            assert_eq!(parked, Ok(true));
        }
        let letters = store.dead_letters(None, None, 10).await.expect("reads");
        assert!(letters.iter().all(|letter| letter.event.payload == text));
    }

    pub async fn lists_are_ranked_on_every_database(store: Store) {
        let batch = [confirmed("1", &["a"])];
        let counted = store
            .project(Projection::Ranking, &batch, Coming::Fresh)
            .await;
        assert_eq!(counted, Ok(1));
        for by in [RankedBy::Popular, RankedBy::FastestSoldOut] {
            let listing = store.ranked_concerts(by, Page::new(10, None)).await;
            assert!(listing.expect("reads").items.is_empty());
        }
    }

    pub async fn old_notes_are_forgotten(store: Store) {
        let batch = [confirmed("1", &["a"]), confirmed("2", &["b"])];
        store
            .project(SALES, &batch, Coming::Fresh)
            .await
            .expect("counts");
        assert_eq!(store.prune_inbox(3_600_000, 10).await, Ok(0));
        assert_eq!(store.prune_inbox(0, 1).await, Ok(1));
        assert_eq!(store.prune_inbox(0, 10).await, Ok(1));
        assert_eq!(store.project(SALES, &batch, Coming::Fresh).await, Ok(2));

        // What is parked may still be redriven, however old it is.
        let parked = [confirmed("3", &["c"])];
        let left = store.park(SALES.consumer(), &parked[0], "why").await;
        assert_eq!(left, Ok(true));
        assert_eq!(store.prune_inbox(0, 10).await, Ok(2));
        assert_eq!(store.project(SALES, &parked, Coming::Fresh).await, Ok(0));
        assert_eq!(store.project(SALES, &parked, Coming::Redriven).await, Ok(1));
    }
}

/// Everything in the outbox, marked as published.
async fn drain(store: &SqlStore) -> Vec<OutboxEvent> {
    let events = store.claim(7, 30_000, 10_000).await.expect("claims");
    store.mark_published(&events).await.expect("marks");
    events
}

#[tokio::test]
async fn what_is_counted_from_events_is_what_was_sold() {
    let opened = Arc::new(Sqlite::open().await);
    let store = Arc::clone(&opened.store);
    let sale = Sale::new(Arc::clone(&opened) as Arc<dyn Subject>);
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000_000).await;
    sale.top_up("bob", 1_000_000).await;
    let hers = sale
        .hold_best("ann", &performance, best(2))
        .await
        .expect("held");
    let his = sale
        .hold_best("bob", &performance, best(1))
        .await
        .expect("held");
    sale.pay("ann", &hers.id).await.expect("paid");
    sale.pay("bob", &his.id).await.expect("paid");
    let both = hers.total.amount_minor + his.total.amount_minor;
    let held = sale
        .hold_best("bob", &performance, best(1))
        .await
        .expect("held");

    let events = drain(&store).await;
    for projection in [Projection::Sales, Projection::Ranking] {
        let fresh = store.project(projection, &events, Coming::Fresh).await;
        assert_eq!(fresh, Ok(events.len()));
    }
    let figures = store
        .sales_figures(Some(&performance))
        .await
        .expect("reads");
    let figures = figures.expect("a performance");
    assert_eq!((figures.sold, figures.held), (3, held.seats.len() as u64));
    assert_eq!(figures.revenue, [money(both)]);

    sale.cancel("ann", &hers.id).await.expect("cancelled");
    let events = drain(&store).await;
    for projection in [Projection::Sales, Projection::Ranking] {
        store
            .project(projection, &events, Coming::Fresh)
            .await
            .expect("counts");
    }
    let figures = store
        .sales_figures(None)
        .await
        .expect("reads")
        .expect("all");
    assert_eq!((figures.sold, figures.held), (1, 1));
    assert_eq!(figures.revenue, [his.total]);
    let nobody = ResourceId::parse("nobody").expect("an id");
    assert_eq!(store.sales_figures(Some(&nobody)).await, Ok(None));
}
