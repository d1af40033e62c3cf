//! The registry's promises, on SQLite.

use std::sync::Arc;

use tempfile::TempDir;

use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::rooms::conformance::Harness;
use crate::store::sql::SqlStore;

mod asked;
mod events;
mod mariadb;
mod postgres;
mod protects;

async fn open_store() -> (Arc<SqlStore>, Arc<ManualClock>, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let shared_clock: Arc<dyn Clock> = clock.clone();
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let store = SqlStore::connect(&url, shared_clock).await.expect("opens");
    store.migrate_up().await.expect("migrates");
    (Arc::new(store), clock, dir)
}

async fn open() -> (Harness, TempDir) {
    let (store, clock, dir) = open_store().await;
    (Harness::new(store, clock), dir)
}

crate::room_registry_conformance!(open);
