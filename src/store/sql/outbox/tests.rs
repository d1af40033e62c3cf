//! The outbox's promises on SQLite, and that events share the fate of their
//! unit.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::outbox::conformance::Harness;

mod mariadb;
mod postgres;

async fn open_store() -> (Arc<SqlStore>, Arc<ManualClock>, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let shared_clock: Arc<dyn Clock> = clock.clone();
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let store = SqlStore::connect(&url, shared_clock).await.expect("opens");
    store.migrate_up().await.expect("migrates");
    (Arc::new(store), clock, dir)
}

async fn append_one(store: &SqlStore, aggregate: String, kind: &'static str) {
    let appended: Result<(), OutboxError> = store
        .write((aggregate, kind), |tx, (aggregate, kind)| {
            async move {
                append(tx, aggregate, kind, &json!({ "kind": kind }));
                Ok(())
            }
            .boxed()
        })
        .await;
    appended.expect("appends");
}

async fn open() -> (Harness, TempDir) {
    let (store, clock, dir) = open_store().await;
    let appending = Arc::clone(&store);
    let harness = Harness {
        outbox: store,
        clock,
        append: Box::new(move |aggregate, kind| {
            let store = Arc::clone(&appending);
            async move { append_one(&store, aggregate, kind).await }.boxed()
        }),
    };
    (harness, dir)
}

crate::outbox_conformance!(open);

#[tokio::test]
async fn an_undone_unit_leaves_no_event() {
    let (store, _clock, _dir) = open_store().await;
    let undone: Result<(), OutboxError> = store
        .write((), |tx, ()| {
            async move {
                append(tx, "order:1", "order.paid", &json!({}));
                Err(OutboxError::Unavailable("planted".to_owned()))
            }
            .boxed()
        })
        .await;
    assert!(undone.is_err());
    assert_eq!(store.backlog().await, Ok(Backlog::default()));
    append_one(&store, "order:1".to_owned(), "order.paid").await;
    let batch = store.claim_batch(partition_of("order:1"), 1, 1_000, 10);
    let batch = batch.await.expect("claims");
    assert_eq!(batch[0].version, 1, "no version was used up");
}

#[tokio::test]
async fn racing_units_get_versions_without_a_gap() {
    let (store, _clock, _dir) = open_store().await;
    let appends = (0..50).map(|_| append_one(&store, "order:1".to_owned(), "order.paid"));
    futures_util::future::join_all(appends).await;
    let batch = store.claim_batch(partition_of("order:1"), 1, 1_000, 100);
    let batch = batch.await.expect("claims");
    assert!(batch.iter().map(|event| event.version).eq(1..=50));
}

#[tokio::test]
async fn a_long_backlog_is_estimated_and_not_counted() {
    let (store, _clock, _dir) = open_store().await;
    let event = |aggregate: String| Event {
        aggregate,
        kind: "order.paid",
        payload: json!({}),
        trace: None,
    };
    let short = (0..900).map(|_| event("order:1".to_owned())).collect();
    store.leave_events(short).await.expect("leaves");
    assert_eq!(store.backlog().await.expect("reads").pending, 900);
    let long = (0..2_000).map(|_| event("order:1".to_owned())).collect();
    store.leave_events(long).await.expect("leaves");
    let backlog = store.backlog().await.expect("reads");
    assert_eq!(backlog.pending, 2_900);
    assert_eq!(backlog.oldest, Some(UnixMs(1_000_000)));

    // Those that were published are none, wherever they are.
    let published = store.claim(1, 60_000, 40_000).await.expect("claims");
    store
        .mark_published(&published[500..])
        .await
        .expect("marks");
    assert_eq!(store.backlog().await.expect("reads").pending, 500);
}
