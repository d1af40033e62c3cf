//! Relays that race, die half way, or whose sink is away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::bus::local::LocalSink;
use crate::domain::time::UnixMs;
use crate::store::outbox::{Backlog, Failed, Pruned};
use crate::store::sql::SqlStore;
use crate::store::sql::outbox::append;
use crate::store::sql::postgres::tests::open_store;
use crate::store::sql::query::one;

/// Has events up to this id, all of which stay; one is looked at in a step.
struct Staying {
    last: u64,
    looked: Mutex<Vec<u64>>,
}

impl Staying {
    fn up_to(last: u64) -> Arc<Self> {
        Arc::new(Self {
            last,
            looked: Mutex::default(),
        })
    }

    fn looked(&self) -> Vec<u64> {
        self.looked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Outbox for Staying {
    async fn claim(&self, _: u64, _: u64, _: u32) -> Result<Vec<OutboxEvent>, OutboxError> {
        Ok(Vec::new())
    }

    async fn claim_batch(
        &self,
        _: u8,
        _: u64,
        _: u64,
        _: u32,
    ) -> Result<Vec<OutboxEvent>, OutboxError> {
        Ok(Vec::new())
    }

    async fn mark_published(&self, _: &[OutboxEvent]) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn mark_failed(&self, _: &OutboxEvent, _: RetryPolicy) -> Result<Failed, OutboxError> {
        Ok(Failed::Settled)
    }

    async fn put_off(&self, _: &[OutboxEvent], _: RetryPolicy) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn release(&self, _: u8, _: u64) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn prune(&self, after: u64, _: u32) -> Result<Pruned, OutboxError> {
        self.looked.lock().unwrap().push(after);
        Ok(Pruned {
            events: 0,
            next: self.last.min(after + 1),
            is_end: after == self.last,
        })
    }

    async fn dead(&self, _: u64, _: u32) -> Result<Vec<OutboxEvent>, OutboxError> {
        Ok(Vec::new())
    }

    async fn discard_dead(&self, _: &str) -> Result<bool, OutboxError> {
        Ok(false)
    }

    async fn revive(&self) -> Result<u64, OutboxError> {
        Ok(0)
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        Ok(Backlog::default())
    }
}

#[tokio::test]
async fn what_stays_is_looked_at_once_a_day() {
    let outbox = Staying::up_to(7);
    let sink = Arc::new(LocalSink::default());
    let relay = Relay::new(outbox.clone(), sink, 1, &Metrics::new());
    for _ in 0..PRUNES_PER_WALK {
        relay.prune().await.unwrap();
    }
    let walks = |looked: &[u64]| looked.iter().filter(|after| **after == 0).count();
    assert_eq!((walks(&outbox.looked()), outbox.looked()[0]), (1, 0));
    relay.prune().await.unwrap();
    assert_eq!(walks(&outbox.looked()), 2);
}

#[tokio::test]
async fn pruning_goes_on_to_the_end_however_long_the_outbox_is() {
    let outbox = Staying::up_to(200);
    let sink = Arc::new(LocalSink::default());
    let relay = Relay::new(outbox.clone(), sink, 1, &Metrics::new());
    relay.prune().await.unwrap();
    assert_eq!(outbox.looked(), (0..=200).collect::<Vec<u64>>());
}

async fn leave(store: &Arc<SqlStore>, aggregates: Vec<String>) {
    let left: Result<(), OutboxError> = store
        .write(aggregates, |tx, aggregates| {
            async move {
                for aggregate in aggregates {
                    append(tx, aggregate, "order.paid", &json!({}));
                    // It has its id now; others get later ones and commit.
                    one(tx, "SELECT 1 AS one", []).await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(())
            }
            .boxed()
        })
        .await;
    left.unwrap();
}

/// The versions of each aggregate in the order of their first arrival.
fn arrived(sink: &LocalSink) -> BTreeMap<String, Vec<u64>> {
    let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in sink.read(0, usize::MAX).events {
        let versions = arrived.entry(event.aggregate).or_default();
        if !versions.contains(&event.version) {
            versions.push(event.version);
        }
    }
    arrived
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_skip_none_of_what_64_writers_commit_out_of_order() {
    let (store, _clock, _database) = open_store(UnixMs(1_000_000)).await;
    let sink = Arc::new(LocalSink::default());
    let relay = |id| {
        let (outbox, sink) = (Arc::clone(&store) as _, Arc::clone(&sink) as _);
        Relay::new(outbox, sink, id, &Metrics::new())
    };
    let relays = [relay(1), relay(2)];
    let writing = join_all((0..64).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            for round in 0..3 {
                let own = format!("order:{writer}");
                let shared = format!("performance:{}", (writer + round) % 4);
                leave(&store, vec![own, shared]).await;
            }
        }
    }));
    let total = 64 * 3 * 2;
    let relaying = join_all(relays.iter().map(|relay| async {
        while arrived(&sink).values().map(Vec::len).sum::<usize>() < total {
            relay.step().await.unwrap();
        }
    }));
    let both = join(writing, relaying);
    timeout(Duration::from_secs(60), both)
        .await
        .expect("all arrive");
    for (aggregate, versions) in arrived(&sink) {
        assert!(versions.is_sorted(), "{aggregate}: {versions:?}");
        let last = versions.last().copied().unwrap_or_default();
        assert_eq!(versions.len() as u64, last, "{aggregate}");
    }
    while relays[0].step().await.unwrap().settled + relays[1].step().await.unwrap().settled > 0 {}
    assert_eq!(store.backlog().await.unwrap().pending, 0);
}

/// Takes what it is told to, and calls the rest later.
struct Choosy {
    takes: Mutex<bool>,
    taken: LocalSink,
}

#[async_trait]
impl EventSink for Choosy {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        if !*self.takes.lock().unwrap() {
            return Delivery::later(batch, "planted");
        }
        self.taken.deliver(batch).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_away_for_one_node_leaves_its_partitions_to_another() {
    let (store, _clock, _database) = open_store(UnixMs(1_000_000)).await;
    let aggregates: Vec<String> = (0..40).map(|n| format!("order:{n}")).collect();
    leave(&store, aggregates).await;
    let choosy = Arc::new(Choosy {
        takes: Mutex::new(false),
        taken: LocalSink::default(),
    });
    let metrics = Metrics::new();
    let cut_off = Relay::new(
        Arc::clone(&store) as _,
        Arc::clone(&choosy) as _,
        1,
        &metrics,
    );
    let step = cut_off.step().await.unwrap();
    assert_eq!((step.settled, step.is_away), (0, true));
    assert_eq!(store.backlog().await.unwrap().pending, 40);
    let told = metrics.render();
    assert!(
        told.contains("usher_relay_events_total{outcome=\"later\"} 40"),
        "{told}"
    );

    let sink = Arc::new(LocalSink::default());
    let other = Relay::new(
        Arc::clone(&store) as _,
        Arc::clone(&sink) as _,
        2,
        &Metrics::new(),
    );
    while other.step().await.unwrap().settled > 0 {}
    assert_eq!(arrived(&sink).len(), 40);
    *choosy.takes.lock().unwrap() = true;
    assert_eq!(cut_off.step().await.unwrap(), Step::default());
}

/// What a relay delivered and died before it could mark comes from the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_before_it_marks_leaves_duplicates_and_no_disorder() {
    let (store, clock, _database) = open_store(UnixMs(1_000_000)).await;
    leave(&store, vec!["order:1".to_owned(); 5]).await;
    let sink = Arc::new(LocalSink::default());
    let batch = store.claim(1, PARTITION_LEASE_MS, 3).await.unwrap();
    sink.deliver(&batch).await;
    let next = Relay::new(
        Arc::clone(&store) as _,
        Arc::clone(&sink) as _,
        2,
        &Metrics::new(),
    );
    assert_eq!(
        next.step().await.unwrap().settled,
        0,
        "the lease still lasts"
    );
    clock.advance_ms(PARTITION_LEASE_MS);
    while next.step().await.unwrap().settled > 0 {}
    assert_eq!(arrived(&sink)["order:1"], [1, 2, 3, 4, 5]);
    assert_eq!(sink.read(0, usize::MAX).events.len(), 8);

    // One that stops gives its partitions away.
    leave(&store, vec!["order:1".to_owned()]).await;
    next.retire().await.unwrap();
    assert_eq!(
        store.claim(3, PARTITION_LEASE_MS, 10).await.unwrap().len(),
        1
    );
}
