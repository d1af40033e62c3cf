//! The registry's promises, on MariaDB.

use crate::domain::time::UnixMs;
use crate::store::rooms::conformance::Harness;
use crate::store::sql::mariadb::tests::{TestDatabase, open_store};

async fn open() -> (Harness, TestDatabase) {
    let (store, clock, database) = open_store(UnixMs(1_000_000)).await;
    (Harness::new(store, clock), database)
}

crate::room_registry_conformance!(open);
