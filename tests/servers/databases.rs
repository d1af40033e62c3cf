//! Databases of real servers, each with the schema and nothing in it, for whole
//! nodes. The servers are those of this process, shared by its tests.
#![allow(dead_code, reason = "each includer uses a part")]

use std::net::SocketAddr;
use std::sync::OnceLock;

use usher::store::sql::{DatabaseClock, SqlSettings, SqlStore};

#[path = "mariadb.rs"]
pub mod mariadb;
#[path = "postgres.rs"]
pub mod postgres;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
}

/// What clients and servers say around a transaction.
pub struct Words {
    pub begin_answered: &'static [u8],
    pub commit_asked: &'static [u8],
    pub commit_answered: &'static [u8],
}

impl Kind {
    pub fn words(self) -> Words {
        match self {
            Self::Postgres => Words {
                begin_answered: b"BEGIN\0",
                commit_asked: b"COMMIT\0",
                commit_answered: b"COMMIT\0",
            },
            // An answer is its length, a number, no rows, no id, and whether a
            // transaction is open.
            Self::MariaDb => Words {
                begin_answered: b"\x07\0\0\x01\0\0\0\x03\0\0\0",
                commit_asked: b"\x03COMMIT",
                commit_answered: b"\x07\0\0\x01\0\0\0\x02\0\0\0",
            },
        }
    }

    fn create(self, template: Option<&str>) -> String {
        match self {
            Self::Postgres => postgres::shared().create(template),
            Self::MariaDb => mariadb::shared().create(template),
        }
    }

    fn url_at(self, addr: SocketAddr, name: &str) -> String {
        match self {
            Self::Postgres => postgres::shared().url_at(addr, name),
            Self::MariaDb => mariadb::shared().url_at(addr, name),
        }
    }

    fn addr(self) -> SocketAddr {
        match self {
            Self::Postgres => postgres::shared().addr(),
            Self::MariaDb => mariadb::shared().addr(),
        }
    }

    /// A database with the schema, which nobody is connected to.
    fn template(self) -> &'static str {
        static TEMPLATES: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
        TEMPLATES[self as usize].get_or_init(|| {
            let name = self.create(None);
            let url = self.url_at(self.addr(), &name);
            let migrating = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                runtime.block_on(migrate(&url));
            });
            migrating.join().expect("migrated");
            name
        })
    }
}

async fn migrate(url: &str) {
    let settings = SqlSettings {
        unit_timeout_ms: 60_000,
        ..SqlSettings::new(url)
    };
    let store = SqlStore::open(settings, DatabaseClock::Server).await;
    let store = store.expect("opened");
    store.migrate_up().await.expect("migrated");
    assert!(store.shutdown(std::time::Duration::from_secs(30)).await);
}

pub struct Database {
    kind: Kind,
    name: String,
}

impl Database {
    pub fn new(kind: Kind) -> Self {
        let name = kind.create(Some(kind.template()));
        Self { kind, name }
    }

    pub fn addr(&self) -> SocketAddr {
        self.kind.addr()
    }

    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// The same database through a proxy.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        self.kind.url_at(addr, &self.name)
    }

    /// As its superuser sees it.
    pub fn sql(&self, sql: &str) -> String {
        match self.kind {
            Kind::Postgres => postgres::shared().sql(&self.name, sql),
            Kind::MariaDb => mariadb::shared().sql(&self.name, sql),
        }
    }

    /// Transactions that are open for longer than any of a test takes.
    pub fn forgotten_transactions(&self) -> u64 {
        let sql = match self.kind {
            Kind::Postgres => {
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND state LIKE 'idle in transaction%' \
                 AND state_change < now() - interval '1 second'"
            }
            Kind::MariaDb => {
                "SELECT COUNT(*) FROM information_schema.innodb_trx AS t \
                 JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id \
                 WHERE p.db = DATABASE() AND p.command = 'Sleep' AND p.time >= 1"
            }
        };
        self.sql(sql).trim().parse().expect("a count")
    }
}
