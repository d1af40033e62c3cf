//! The sale's promises, on PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::ManualClock;
use crate::domain::time::UnixMs;
use crate::store::outbox::Outbox;
use crate::store::sales::SalesStore;
use crate::store::sales::conformance::Subject;
use crate::store::sql::SqlStore;
use crate::store::sql::postgres::tests::{TestDatabase, open_store};

struct Postgres {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    _database: TestDatabase,
}

#[async_trait]
impl Subject for Postgres {
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

async fn open() -> Arc<dyn Subject> {
    let (store, clock, database) = open_store(UnixMs(1_700_000_000_000)).await;
    Arc::new(Postgres {
        store,
        clock,
        _database: database,
    })
}

crate::sales_store_conformance!(open);
