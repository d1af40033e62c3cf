//! The sale's promises, on SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::outbox::Outbox;
use crate::store::sales::conformance::fixture::{id, money};
use crate::store::sales::conformance::{Sale, Subject};
use crate::store::sales::{Deposit, SalesStore};
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

    fn outbox(&self) -> Arc<dyn Outbox> {
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

#[tokio::test]
async fn an_answer_is_told_again_for_as_long_as_is_set() {
    const DAY_MS: u64 = 86_400_000;
    let sqlite = Sqlite::open_with(|settings| settings.answers_kept_ms = 2 * DAY_MS).await;
    let sale = Sale::new(Arc::new(sqlite));
    let deposit = sale.deposit("ann", money(5));
    for (pause_ms, balance) in [(0, 5), (2 * DAY_MS - 1, 5), (1, 10)] {
        sale.advance_ms(pause_ms).await;
        sale.sweep_all().await;
        let again = Deposit {
            id: id(&sale.fresh()),
            ..deposit.clone()
        };
        sale.store().credit(again).await.expect("credited");
        assert_eq!(sale.balance("ann").await, balance);
    }
}
