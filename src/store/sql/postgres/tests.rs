//! Databases of a real PostgreSQL for the tests of this store.

use std::sync::{Arc, OnceLock};

use sea_orm::{ConnectionTrait, DbErr};

use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::sql::{DatabaseClock, SqlSettings, SqlStore, Tx};

#[path = "../../../../tests/servers/postgres.rs"]
pub mod server;

#[path = "../server/tests/faults.rs"]
mod faults;
mod own;
#[path = "../server/tests/races.rs"]
mod races;
#[path = "../server/tests/units.rs"]
mod units;

use server::{Server, shared};

/// What a server and a client say on the wire.
const BEGIN_ANSWERED: &[u8] = b"BEGIN\0";
const COMMIT_ASKED: &[u8] = b"COMMIT\0";
const COMMIT_ANSWERED: &[u8] = b"COMMIT\0";
const NOWHERE: &str = "postgres://usher@127.0.0.1:1/usher?sslmode=disable";

/// A database with the schema and nothing in it; gone when this is dropped.
pub struct TestDatabase {
    name: String,
    pub url: String,
}

impl TestDatabase {
    pub fn new() -> Self {
        static TEMPLATE: OnceLock<String> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| template(shared()));
        let name = shared().create(Some(template));
        let url = shared().url(&name);
        Self { name, url }
    }

    /// The same database through a proxy.
    pub fn url_at(&self, addr: std::net::SocketAddr) -> String {
        shared().url_at(addr, &self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        shared().drop_database(&self.name);
    }
}

/// A database with the schema, which nobody is connected to.
pub fn template(server: &Server) -> String {
    let name = server.create(None);
    let url = server.url(&name);
    let migrating = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let store = open(settings(&url), DatabaseClock::Server).await;
            store.migrate_up().await.expect("migrates");
            assert!(store.shutdown(PATIENCE).await);
        });
    });
    migrating.join().expect("a template");
    name
}

/// A statement of the unit that takes so long.
async fn pause(tx: &Tx, seconds: f64) -> Result<(), DbErr> {
    let sleep = format!("SELECT pg_sleep({seconds})");
    tx.execute_unprepared(&sleep).await?;
    Ok(())
}

/// As an operator does.
fn end_connections(database: &str) {
    let end_all = format!(
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    shared().sql("postgres", &end_all);
}

pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// With few connections, and with time for a machine that does other things.
pub fn settings(url: &str) -> SqlSettings {
    SqlSettings {
        write_connections: 6,
        read_connections: 2,
        acquire_timeout_ms: 60_000,
        connect_timeout_ms: 10_000,
        statement_timeout_ms: 30_000,
        lock_timeout_ms: 20_000,
        unit_timeout_ms: 50_000,
        ..SqlSettings::new(url)
    }
}

pub async fn open(settings: SqlSettings, clock: DatabaseClock) -> SqlStore {
    SqlStore::open(settings, clock).await.expect("opens")
}

/// A store on a database of its own, with a clock that is moved by hand.
pub async fn open_store(now: UnixMs) -> (Arc<SqlStore>, Arc<ManualClock>, TestDatabase) {
    let database = TestDatabase::new();
    let clock = Arc::new(ManualClock::new(now));
    let given: Arc<dyn Clock> = clock.clone();
    let store = open(settings(&database.url), DatabaseClock::Given(given)).await;
    (Arc::new(store), clock, database)
}
