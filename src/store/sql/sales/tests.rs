//! The sale's promises, on SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::sales::SalesStore;
use crate::store::sales::conformance::Subject;
use crate::store::sql::{SqlSettings, SqlStore};

mod mariadb;
mod postgres;

pub struct Sqlite {
    pub store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl Sqlite {
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub async fn open_with(change: fn(&mut SqlSettings)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let mut settings = SqlSettings::new(&url);
        change(&mut settings);
        let store = SqlStore::connect_with(settings, shared_clock).await;
        let store = store.expect("opens");
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

    async fn advance_ms(&self, step_ms: u64) {
        self.clock.advance_ms(step_ms);
    }
}

async fn open() -> Arc<dyn Subject> {
    Arc::new(Sqlite::open().await)
}

crate::sales_store_conformance!(open);
