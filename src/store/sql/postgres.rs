//! Opening PostgreSQL.
//!
//! Each connection belongs to one worker ([`super::workers`]), which knows what
//! state it is in: nobody ever borrows one that another left in a transaction.
//! So connections are not tested before use either; one that turns out to be
//! gone before its unit has committed is replaced and the unit runs again.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr};

use super::SqlSettings;
use super::server::{Purpose, connect};

/// Statements kept prepared on each connection. Those with lists have a shape
/// for each length.
const STATEMENTS_PREPARED: usize = 256;
/// Migrations of two nodes that start together run one after the other. Any
/// number will do; this one spells "usher".
const MIGRATION_LOCK: i64 = 0x75_73_68_65_72;

/// A batch finds every row by a key, whatever the tables hold. Its statements are
/// planned without knowing how long their lists are, and perhaps while the tables
/// are empty: so it is said here that no table is to be read as a whole.
const BY_KEY: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("random_page_cost", "0.01"),
];

/// Units write what they find by a key, and where that is not in memory it is on no
/// spinning disk: a list of keys is no reason to read a table as a whole.
const WRITES_RANDOM_PAGE_COST: &str = "1.1";

/// # Errors
/// What the server or the network said.
pub(super) async fn open(
    settings: &SqlSettings,
    purpose: Purpose,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(settings.url.clone());
    let parameters = parameters(settings, purpose);
    options
        .max_connections(1)
        .min_connections(0)
        .acquire_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres: PgConnectOptions| {
            postgres
                .application_name("usher")
                .statement_cache_capacity(STATEMENTS_PREPARED)
                .options(
                    parameters
                        .iter()
                        .map(|(name, value)| (*name, value.as_str())),
                )
        });
    connect(options).await
}

/// Said once per connection, so that no server-wide default decides.
fn parameters(settings: &SqlSettings, purpose: Purpose) -> Vec<(&'static str, String)> {
    let (isolation, read_only) = match purpose {
        Purpose::Write | Purpose::Checkout | Purpose::Schema => ("read committed", "off"),
        Purpose::Read | Purpose::Survey => ("repeatable read", "on"),
    };
    let mut parameters = vec![
        ("default_transaction_isolation", isolation.to_owned()),
        ("default_transaction_read_only", read_only.to_owned()),
        // Compiling takes a second or two, and what is read milliseconds.
        ("jit", "off".to_owned()),
    ];
    if purpose == Purpose::Checkout {
        let by_key = BY_KEY.map(|(name, value)| (name, value.to_owned()));
        parameters.extend(by_key);
    }
    if purpose == Purpose::Write {
        parameters.push(("random_page_cost", WRITES_RANDOM_PAGE_COST.to_owned()));
    }
    if purpose.writes() || purpose == Purpose::Read {
        let statement_ms = settings.statement_timeout_ms;
        parameters.extend([
            ("statement_timeout", statement_ms.to_string()),
            ("lock_timeout", settings.lock_timeout_ms.to_string()),
            // A node that is paused in a transaction lets go of its locks.
            (
                "idle_in_transaction_session_timeout",
                statement_ms.to_string(),
            ),
        ]);
    } else {
        let none = ["statement_timeout", "idle_in_transaction_session_timeout"];
        parameters.extend(none.map(|name| (name, "0".to_owned())));
    }
    parameters
}

/// Until the connection is closed: it is the only one behind `db`.
///
/// # Errors
/// What the database said.
pub(super) async fn lock_schema(db: &DatabaseConnection) -> Result<(), DbErr> {
    let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
    db.execute_unprepared(&lock).await?;
    Ok(())
}

#[cfg(test)]
pub mod tests;
