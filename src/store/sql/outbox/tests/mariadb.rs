//! The outbox's promises, on MariaDB.

use std::sync::Arc;

use futures_util::FutureExt;

use super::append_one;
use crate::domain::time::UnixMs;
use crate::store::outbox::{Outbox, conformance::Harness, partition_of};
use crate::store::sql::mariadb::tests::{TestDatabase, open_store};

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
