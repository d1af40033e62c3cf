//! Opening MariaDB.
//!
//! As on PostgreSQL each connection belongs to one worker. What a session needs
//! is said once per connection, so that no server-wide default decides: how
//! texts are compared is the columns' matter (see the migrations), that nothing
//! is cut or guessed is strict mode's, and the clock is UTC's.
//!
//! READ COMMITTED, as on PostgreSQL: each statement sees what is committed, and
//! InnoDB locks rows, not the gaps between them, except where a key or a
//! reference is checked. So the locks of [`super::locks`] are on rows that are
//! there.

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sea_orm::sqlx::{AssertSqlSafe, Executor};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use super::SqlSettings;
use super::server::{Purpose, connect};

/// Statements kept prepared on each connection. Those with lists have a shape
/// for each length.
const STATEMENTS_PREPARED: usize = 256;
/// Longer than any migration.
const SCHEMA_LOCK_S: u32 = 3_600;

/// # Errors
/// What the server or the network said.
pub(super) async fn open(
    settings: &SqlSettings,
    purpose: Purpose,
) -> Result<DatabaseConnection, DbErr> {
    let url = match settings.url.strip_prefix("mariadb://") {
        Some(rest) => format!("mysql://{rest}"),
        None => settings.url.clone(),
    };
    let mut options = ConnectOptions::new(url);
    let session = session(settings, purpose);
    options
        .max_connections(1)
        .min_connections(0)
        .acquire_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_mysql_opts(|mysql: MySqlConnectOptions| {
            mysql.statement_cache_capacity(STATEMENTS_PREPARED)
        })
        .map_sqlx_mysql_pool_opts(move |pool: MySqlPoolOptions| {
            let session = session.clone();
            pool.after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move {
                    connection.execute(AssertSqlSafe(session)).await?;
                    Ok(())
                })
            })
        });
    connect(options).await
}

/// One statement that makes a session ours.
fn session(settings: &SqlSettings, purpose: Purpose) -> String {
    let (isolation, read_only) = match purpose {
        Purpose::Write | Purpose::Checkout | Purpose::Schema => ("READ-COMMITTED", 0),
        Purpose::Read | Purpose::Survey => ("REPEATABLE-READ", 1),
    };
    let mut session = format!(
        "SET SESSION tx_isolation = '{isolation}', tx_read_only = {read_only}, \
         time_zone = '+00:00', \
         sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'"
    );
    if purpose.writes() || purpose == Purpose::Read {
        let statement_ms = settings.statement_timeout_ms;
        session += &format!(
            ", max_statement_time = {}.{:03}, innodb_lock_wait_timeout = {}, \
             idle_transaction_timeout = {}",
            statement_ms / 1_000,
            statement_ms % 1_000,
            seconds(settings.lock_timeout_ms),
            // A node that is paused in a transaction lets go of its locks.
            seconds(statement_ms),
        );
    } else {
        session += ", max_statement_time = 0, idle_transaction_timeout = 0";
    }
    session
}

/// Whole ones, and not none: 0 means something else to each setting.
fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000).max(1)
}

/// Migrations of two nodes that start together run one after the other. Until
/// the connection is closed: it is the only one behind `db`.
///
/// # Errors
/// What the database said, or that the lock was not got.
pub(super) async fn lock_schema(db: &DatabaseConnection) -> Result<(), DbErr> {
    lock_schema_within(db, SCHEMA_LOCK_S).await
}

async fn lock_schema_within(db: &DatabaseConnection, wait_s: u32) -> Result<(), DbErr> {
    // Names are the server's, and short: each database has its own.
    let lock = format!("SELECT GET_LOCK(CONCAT('usher/', MD5(DATABASE())), {wait_s}) AS got");
    let row = db
        .query_one_raw(Statement::from_string(DbBackend::MySql, lock))
        .await?;
    // 0 if somebody else kept it, NULL if the wait was ended.
    let got: Option<i32> = match row {
        Some(row) => row.try_get("", "got")?,
        None => None,
    };
    match got {
        Some(1) => Ok(()),
        _ => Err(DbErr::Custom(
            "the lock of the schema was not got".to_owned(),
        )),
    }
}

#[cfg(test)]
pub mod tests;
