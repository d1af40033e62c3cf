//! Events that are kept for a consumer, and read by one holder at a time.

use super::*;
use crate::bus::{EventSink as _, Outcome};
use crate::clock::ManualClock;
use crate::domain::time::UnixMs;
use crate::engine::consumers::{ConsumeError, ConsumerSink};
use crate::metrics::{CONSUMER_LAG, Metrics};
use crate::store::inbox::Coming;
use crate::store::sql::{SqlStore, mariadb, postgres};

const LEASE_MS: u64 = 10_000;

fn event(id: u32, aggregate: &str, version: u64) -> OutboxEvent {
    OutboxEvent {
        id: id.to_string(),
        aggregate: aggregate.to_owned(),
        version,
        kind: "reservation.confirmed".to_owned(),
        payload: "{}".to_owned(),
        created_at: UnixMs(7),
        route: None,
        trace: None,
    }
}

fn ids(events: &[OutboxEvent]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

/// The promises of [`Kept`].
async fn keeps(kept: &SqlStore, clock: &ManualClock) {
    let batch = [event(9, "a", 1), event(10, "a", 2), event(100, "b", 1)];
    kept.keep("told", &batch).await.unwrap();
    kept.keep("told", &batch).await.unwrap();
    kept.keep("other", &batch[..1]).await.unwrap();
    assert_eq!(kept.count_kept("told", 2).await, Ok(2));
    let read = |holder, most| kept.kept("told", holder, LEASE_MS, most);
    assert_eq!(read(1, 10).await.unwrap(), batch);
    assert_eq!(ids(&read(1, 2).await.unwrap()), ["9", "10"]);
    assert!(read(2, 10).await.unwrap().is_empty(), "one at a time");
    kept.let_go("told", &batch[..2]).await.unwrap();
    kept.let_go("told", &batch[..2]).await.unwrap();
    clock.advance_ms(LEASE_MS);
    assert_eq!(ids(&read(2, 10).await.unwrap()), ["100"]);
    assert!(
        read(1, 10).await.unwrap().is_empty(),
        "another has them now"
    );
    assert_eq!(kept.count_kept("other", 10).await, Ok(1));
    let stranger = OutboxEvent {
        id: "0@7".to_owned(),
        ..event(1, "a", 1)
    };
    assert!(kept.keep("told", &[stranger]).await.is_err());
}

async fn embedded() -> (Arc<SqlStore>, Arc<ManualClock>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let shared: Arc<dyn crate::clock::Clock> = Arc::clone(&clock) as _;
    let store = SqlStore::connect(&url, shared).await.unwrap();
    store.migrate_up().await.unwrap();
    (Arc::new(store), clock, dir)
}

#[tokio::test]
async fn sqlite_keeps_them() {
    let (store, clock, _dir) = embedded().await;
    keeps(&store, &clock).await;
}

#[tokio::test]
async fn postgresql_keeps_them() {
    let (store, clock, _database) = postgres::tests::open_store(UnixMs(1_000_000)).await;
    keeps(&store, &clock).await;
}

#[tokio::test]
async fn mariadb_keeps_them() {
    let (store, clock, _database) = mariadb::tests::open_store(UnixMs(1_000_000)).await;
    keeps(&store, &clock).await;
}

/// Never ends what it began.
struct Silent;

#[async_trait]
impl Consumer for Silent {
    fn name(&self) -> &'static str {
        "told"
    }

    fn wants(&self, kind: &str) -> bool {
        kind != "slot.freed"
    }

    async fn consume(&self, _: &[OutboxEvent], _: Coming) -> Result<usize, ConsumeError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_sink_takes_what_is_kept_whatever_its_consumer_does() {
    let (store, _clock, _dir) = embedded().await;
    let keeper = Keeper::new(Arc::new(Silent), Arc::clone(&store) as _);
    let sink = ConsumerSink::new([]).keeping(vec![keeper.clone()]);
    let mut unwanted = event(3, "c", 1);
    unwanted.kind = "slot.freed".to_owned();
    let batch = [event(1, "a", 1), event(2, "b", 1), unwanted];
    let delivery = sink.deliver(&batch).await;
    assert_eq!(delivery.outcomes, vec![Outcome::Taken { route: None }; 3]);
    assert_eq!(store.count_kept("told", 10).await, Ok(2));

    // Read but not committed comes again; committed does not.
    let metrics = Metrics::new();
    let lag = metrics.gauge(&CONSUMER_LAG, &["told"]);
    let lease = Duration::from_millis(LEASE_MS);
    let mut source = keeper.source(1, lease, Some(lag.clone()));
    assert_eq!(source.next(1).await[0].event.id, "1");
    drop(source);
    let mut source = keeper.source(1, lease, Some(lag));
    assert_eq!(source.next(10).await.len(), 2);
    source.commit();
    assert_eq!(source.read(10).await, Ok(Vec::new()));
    assert_eq!(store.count_kept("told", 10).await, Ok(0));
    let told = metrics.render();
    let waiting = "usher_consumer_lag{consumer=\"told\"} 2";
    assert!(told.contains(waiting), "{told}");
}
