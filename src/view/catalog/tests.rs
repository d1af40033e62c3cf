//! What is kept, for how long, and that no change is hidden by it.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::bus::local::LocalBus;
use crate::clock::ManualClock;
use crate::config::Sources;
use crate::domain::sale::catalog::SeatState;
use crate::domain::time::UnixMs;
use crate::entropy::SeededEntropy;
use crate::store::outbox::Outbox;
use crate::store::sales::conformance::{HOLD_TTL_MS, Sale, Subject};
use crate::store::sql::{SqlSettings, SqlStore};

mod kept;

struct Sqlite {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    _dir: TempDir,
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

/// A sale, and the catalog of one node.
struct World {
    sale: Sale,
    catalog: Arc<CatalogCache>,
    bus: Arc<dyn EventBus>,
    metrics: Metrics,
}

impl World {
    async fn new(ttl_ms: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let manual = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let clock: Arc<dyn Clock> = manual.clone();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect_with(SqlSettings::new(&url), Arc::clone(&clock)).await;
        let store = Arc::new(store.expect("opens"));
        store.migrate_up().await.expect("migrates");
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let metrics = Metrics::new();
        let mut config = Sources::default().load().expect("the defaults").catalog;
        config.cache_ttl_ms = ttl_ms;
        let catalog = CatalogCache::new(
            Arc::clone(&store) as _,
            Arc::clone(&store) as _,
            &config,
            &clock,
            &entropy,
            &metrics,
        );
        let catalog = Arc::new(catalog);
        let subject = Sqlite {
            store,
            clock: manual,
            _dir: dir,
        };
        Self {
            sale: Sale::new(Arc::new(subject)),
            bus: catalog.overhear(Arc::new(LocalBus::default())),
            catalog,
            metrics,
        }
    }

    /// Reads of `what` that were waited for.
    fn misses(&self, what: &str) -> u64 {
        self.metrics
            .counter(&crate::metrics::CATALOG_READS, &[what, "miss"])
            .increment(0);
        let wanted = format!("what=\"{what}\",outcome=\"miss\"");
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.contains(&wanted));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.expect("a counter").parse().expect("a number")
    }

    async fn map(&self, performance: &ResourceId) -> (Arc<SeatMap>, Admission) {
        let user = crate::domain::ids::UserId::parse("ann").expect("a user");
        let store = self.sale.store();
        let admission = store.check_pass(user, performance.clone(), None).await;
        let admission = admission.expect("no room protects it");
        let map = self.catalog.seat_map(performance, &admission).await;
        (map.expect("a map"), admission)
    }

    async fn first_page(&self) -> Arc<AsOf<Concerts>> {
        let page = self.catalog.concerts(Page::new(0, None)).await;
        page.expect("a page")
    }
}

#[tokio::test]
async fn a_page_is_read_once_until_the_catalog_changes() {
    let world = World::new(60_000).await;
    world.sale.concert().await;
    for _ in 0..10 {
        assert_eq!(world.first_page().await.items.len(), 1);
    }
    assert_eq!(world.misses("concerts"), 1);

    world.sale.concert().await;
    world.bus.publish(BusMessage::CatalogChanged);
    assert_eq!(
        world.first_page().await.items.len(),
        2,
        "no wait in between"
    );
    let room = crate::domain::ids::RoomId::parse("r").expect("an id");
    world.bus.publish(BusMessage::RoomChanged(room));
    world.first_page().await;
    assert_eq!(world.misses("concerts"), 2, "it protects what it did");
    world.catalog.heard(&BusEvent::Gap);
    world.first_page().await;
    assert_eq!(world.misses("concerts"), 3);
}

#[tokio::test]
async fn a_concert_that_turns_takes_its_own_pages_and_no_others() {
    let world = World::new(60_000).await;
    let mut concerts = Vec::new();
    for _ in 0..2 {
        let made = world.sale.performance_with(|_| {}).await;
        concerts.push(made.terms.concert);
    }
    let read_all = async || {
        let first = world.catalog.concerts(Page::new(1, None)).await;
        let first = first.expect("a page");
        let second = world.catalog.concerts(Page::new(1, first.next.clone()));
        let second = second.await.expect("a page");
        for concert in &concerts {
            let one = world.catalog.concert(concert.clone()).await;
            one.expect("a concert");
            let dates = Page::new(0, None);
            let dates = world.catalog.performances(concert.clone(), dates).await;
            dates.expect("dates");
        }
        let ids = [&first, &second].map(|page| page.items[0].id.clone());
        assert!(concerts.iter().all(|concert| ids.contains(concert)));
        ["concerts", "concert", "performances"].map(|what| world.misses(what))
    };
    assert_eq!(read_all().await, [2, 2, 2]);
    let turned = |mark| BusMessage::SoldOutTurned {
        concert: concerts[1].clone(),
        mark,
    };
    world.bus.publish(turned(7));
    assert_eq!(read_all().await, [3, 3, 3]);
    // This node's own, once more.
    world.catalog.heard(&BusEvent::Message(turned(7)));
    assert_eq!(read_all().await, [3, 3, 3]);
    world.catalog.heard(&BusEvent::Message(turned(8)));
    assert_eq!(read_all().await, [4, 4, 4]);
}

#[tokio::test]
async fn next_pages_are_shared_by_those_who_begin_at_different_times() {
    let world = World::new(60_000).await;
    for _ in 0..3 {
        world.sale.performance().await;
    }
    let page = || world.catalog.concerts(Page::new(2, None));
    let first = page().await.expect("a page");
    world.sale.advance_ms(30_000).await;
    world.catalog.heard(&BusEvent::Gap);
    let later = page().await.expect("a page");
    assert_eq!(first.next, later.next);
    assert!(first.next.is_some());
}

#[tokio::test]
async fn concerts_and_dates_are_kept_and_errors_are_not() {
    let world = World::new(60_000).await;
    let performance = world.sale.performance_with(|_| {}).await;
    let concert = performance.terms.concert;
    for _ in 0..3 {
        let page = Page::new(0, None);
        let dates = world.catalog.performances(concert.clone(), page).await;
        assert_eq!(dates.expect("dates").items[0].id, performance.id);
        let one = world.catalog.concert(concert.clone()).await;
        assert_eq!(one.expect("a concert").id, concert);
        let nothing = ResourceId::parse("nothing").expect("an id");
        let nothing = world.catalog.concert(nothing).await;
        assert_eq!(nothing, Err(SalesError::NotFound));
    }
    assert_eq!(world.misses("performances"), 1);
    assert_eq!(world.misses("concert"), 4, "one, and three that failed");
}

#[tokio::test]
async fn a_seat_map_is_as_new_as_the_check() {
    let world = World::new(60_000).await;
    let performance = world.sale.performance().await;
    for _ in 0..3 {
        world.map(&performance).await;
    }
    assert_eq!(world.misses("seat_map"), 1);

    let held = world.sale.hold("ann", &performance, &["s1-r1-2"]).await;
    let held = held.expect("free");
    let (map, _) = world.map(&performance).await;
    let states = |map: &SeatMap, as_of| -> Vec<SeatState> {
        map.seats.iter().map(|seat| seat.at(as_of).state).collect()
    };
    let mut expected = vec![SeatState::Available; 10];
    expected[1] = SeatState::Held;
    assert_eq!(states(&map, map.as_of), expected);
    let whole = world.sale.store().seat_map(performance.clone(), None).await;
    assert_eq!(
        map.seats,
        whole.expect("a map").seats,
        "all, in their order"
    );
    assert_eq!(world.misses("seat_map"), 2);

    world.sale.advance_ms(HOLD_TTL_MS - 1).await;
    let user = crate::domain::ids::UserId::parse("ann").expect("a user");
    let extended = world.sale.store().extend_hold(user, held.id).await;
    let extended_ms = extended.expect("once").expires_at.0 - world.sale.now().await.0;
    world.sale.advance_ms(1).await;
    let (map, admission) = world.map(&performance).await;
    assert_eq!(states(&map, admission.as_of), expected, "it is extended");
    assert_eq!(world.misses("seat_map"), 3);

    // No row changes when a hold ends by time.
    world.sale.advance_ms(extended_ms).await;
    let (map, admission) = world.map(&performance).await;
    assert_eq!(states(&map, admission.as_of), [SeatState::Available; 10]);
    assert_eq!(world.misses("seat_map"), 3);
}

#[tokio::test]
async fn what_opens_soon_is_read_before_anyone_asks() {
    let world = World::new(60_000).await;
    let performance = world.sale.performance_with(|_| {}).await;
    let protects = Protects {
        concerts: vec![performance.terms.concert.clone()],
        ..Protects::default()
    };
    world.catalog.warm_up(&protects).await;
    let reads = ["concerts", "concert", "performances", "seat_map"];
    let before = reads.map(|what| world.misses(what));
    assert_eq!(before, [1; 4]);
    world.first_page().await;
    world.map(&performance.id).await;
    world.catalog.warm_up(&protects).await;
    assert_eq!(reads.map(|what| world.misses(what)), before);
}

#[tokio::test]
async fn without_a_time_to_live_each_call_reads() {
    let world = World::new(0).await;
    let performance = world.sale.performance().await;
    for _ in 0..3 {
        world.first_page().await;
        world.map(&performance).await;
    }
    assert_eq!(world.misses("concerts"), 3);
    assert_eq!(world.misses("seat_map"), 3);
}
