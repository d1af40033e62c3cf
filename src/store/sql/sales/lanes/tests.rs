//! Batches: what is decided together, on each database.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::outbox::Outbox;
use crate::store::sales::conformance::{Sale, Subject};
use crate::store::sales::{Sales, SalesStore};
use crate::store::sql::sales::tests::Sqlite;
use crate::store::sql::{DatabaseClock, Tx, mariadb, postgres};

mod holds;
mod many;
mod payments;
mod plans;
mod splitting;
mod waiting;

/// A store of its own, with a sale in it.
struct World {
    store: Arc<SqlStore>,
    sale: Sale,
    /// Of a server.
    url: String,
}

/// On a server: `D` is the database, which goes with it.
struct Served<D> {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    _database: D,
}

#[async_trait]
impl<D: Send + Sync + 'static> Subject for Served<D> {
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

async fn on_postgres(change: fn(&mut SqlSettings)) -> World {
    let database = postgres::tests::TestDatabase::new();
    let settings = postgres::tests::settings(&database.url);
    on_server(settings, database, change).await
}

async fn on_mariadb(change: fn(&mut SqlSettings)) -> World {
    let database = mariadb::tests::TestDatabase::new();
    let settings = mariadb::tests::settings(&database.url);
    on_server(settings, database, change).await
}

async fn on_server<D: Send + Sync + 'static>(
    mut settings: SqlSettings,
    database: D,
    change: fn(&mut SqlSettings),
) -> World {
    let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
    let given: Arc<dyn Clock> = clock.clone();
    change(&mut settings);
    let url = settings.url.clone();
    let opened = SqlStore::open(settings, DatabaseClock::Given(given)).await;
    let store = Arc::new(opened.expect("opens"));
    let subject = Arc::new(Served {
        store: Arc::clone(&store),
        clock,
        _database: database,
    });
    World {
        store,
        sale: Sale::new(subject),
        url,
    }
}

async fn on_sqlite(change: fn(&mut SqlSettings)) -> World {
    let subject = Arc::new(Sqlite::open_with(change).await);
    World {
        store: Arc::clone(&subject.store),
        sale: Sale::new(subject),
        url: String::new(),
    }
}

/// Runs a case on each, with an audit at its end.
async fn on_each(case: impl for<'a> Fn(&'a World) -> BoxFuture<'a, ()>) {
    on_each_with(|_| {}, case).await;
}

async fn on_each_with(
    change: fn(&mut SqlSettings),
    case: impl for<'a> Fn(&'a World) -> BoxFuture<'a, ()>,
) {
    for world in [
        on_sqlite(change).await,
        on_postgres(change).await,
        on_mariadb(change).await,
    ] {
        case(&world).await;
        world.sale.assert_clean_audit("a batch").await;
        world.sale.advance_ms(86_400_000).await;
        world.sale.sweep_all().await;
        world.sale.assert_clean_audit("its end").await;
    }
}

impl World {
    /// In one batch, in this order.
    async fn together<K: Kind>(&self, commands: Vec<K::Command>) -> Outcomes<K> {
        let outcomes: Result<Outcomes<K>, SalesError> = self
            .store
            .write(commands, |tx: &Tx, commands: &Vec<K::Command>| {
                async move {
                    let all: Vec<&K::Command> = commands.iter().collect();
                    let locked = K::lock(tx, &all, Others::Skip).await?;
                    assert!(locked.iter().all(Option::is_none), "nobody else is there");
                    K::run(tx, &all).await
                }
                .boxed()
            })
            .await;
        outcomes.expect("commits")
    }
}
