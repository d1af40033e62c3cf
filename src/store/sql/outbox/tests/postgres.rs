//! The outbox's promises, on PostgreSQL.

use std::sync::Arc;

use futures_util::FutureExt;

use sea_orm::ConnectionTrait;

use super::super::DELIVERABLE;
use super::append_one;
use crate::domain::time::UnixMs;
use crate::store::outbox::{Outbox, OutboxError, conformance::Harness, partition_of};
use crate::store::sql::Tx;
use crate::store::sql::outbox::Event;
use crate::store::sql::postgres::tests::{TestDatabase, open_store};
use crate::store::sql::query::all;

async fn open() -> (Harness, TestDatabase) {
    let (store, clock, database) = open_store(UnixMs(1_000_000)).await;
    let appending = Arc::clone(&store);
    let harness = Harness {
        outbox: store,
        clock,
        append: Box::new(move |aggregate, kind| {
            let store = Arc::clone(&appending);
            async move { append_one(&store, aggregate, kind).await }.boxed()
        }),
    };
    (harness, database)
}

crate::outbox_conformance!(open);

#[tokio::test]
async fn racing_units_get_versions_without_a_gap() {
    let (store, _clock, _database) = open_store(UnixMs(1_000_000)).await;
    let appends = (0..50).map(|_| append_one(&store, "order:1".to_owned(), "order.paid"));
    futures_util::future::join_all(appends).await;
    let batch = store.claim_batch(partition_of("order:1"), 1, 1_000, 100);
    let batch = batch.await.expect("claims");
    assert!(batch.iter().map(|event| event.version).eq(1..=50));
}

/// A broker that was away leaves a backlog, in which no batch may look for its
/// events twice; nothing may be known of the table yet, or all.
#[tokio::test]
async fn a_batch_is_found_in_a_backlog_without_reading_it() {
    let (store, _clock, _database) = open_store(UnixMs(1_000_000)).await;
    let event = |nth: u32| Event {
        aggregate: format!("order:{}", nth / 3),
        kind: "order.paid",
        payload: serde_json::json!({ "nth": nth }),
        trace: None,
    };
    let left = store.leave_events((0..3_000).map(event).collect()).await;
    left.expect("leaves");
    for step in ["SELECT 1", "ANALYZE outbox"] {
        let plan = store.write(step, |tx, step| plan(tx, step).boxed()).await;
        let plan: String = plan.expect("explains");
        assert!(plan.contains("outbox_pending"), "{plan}");
        for bad in ["Sort", "Join", "Seq Scan", "Bitmap"] {
            assert!(!plan.contains(bad), "after {step}: {plan}");
        }
    }
}

/// However much waits, and however much was published.
#[tokio::test]
async fn a_backlog_is_shown_without_reading_it() {
    let (store, _clock, _database) = open_store(UnixMs(1_000_000)).await;
    let event = |nth: u32| Event {
        aggregate: format!("order:{}", nth / 3),
        kind: "order.paid",
        payload: serde_json::json!({}),
        trace: None,
    };
    let left = store.leave_events((0..3_000).map(event).collect()).await;
    left.expect("leaves");
    // As ever: nearly all of it is out.
    let events = store.claim(1, 60_000, 60_000).await.expect("claims");
    store.mark_published(&events[160..]).await.expect("marks");
    for step in ["SELECT 1", "ANALYZE outbox"] {
        let query = super::super::backlog::counts();
        let input = (step, query);
        let plan = store.write(input, |tx, (step, query)| explain(tx, step, query).boxed());
        let plan: String = plan.await.expect("explains");
        for bad in ["Sort", "Join", "Seq Scan on outbox"] {
            assert!(!plan.contains(bad), "after {step}: {plan}");
        }
    }
}

async fn plan(tx: &Tx, first: &str) -> Result<String, OutboxError> {
    let query = DELIVERABLE.replace("$1", "3").replace("$3", "5");
    explain(tx, first, &query.replace("$2", "2000000")).await
}

async fn explain(tx: &Tx, first: &str, query: &str) -> Result<String, OutboxError> {
    tx.execute_unprepared(first).await?;
    let mut plan = String::new();
    for line in &all(tx, &format!("EXPLAIN {query}"), []).await? {
        let line = line.text("QUERY PLAN")?;
        plan.push_str(&line);
        plan.push('\n');
    }
    Ok(plan)
}
