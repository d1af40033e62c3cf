//! Opening SQLite: a write-ahead log, so that readers never wait for the
//! writer, and a sync at each commit, so that what is answered stays.

use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr};

use super::SqlSettings;
use super::server::connect;

/// Rows that SQLite's thread may be ahead of its reader: a whole seat map of a
/// thousand costs a few changes of threads instead of twenty.
const ROWS_ON_THE_WAY: usize = 1_024;
/// Statements kept prepared on each connection. Those with lists have a shape
/// for each length.
const STATEMENTS_PREPARED: usize = 256;

/// The one connection that writes. It is never recycled: it is replaced when a
/// commit failed, and only then.
pub(super) async fn open_writer(settings: &SqlSettings) -> Result<DatabaseConnection, DbErr> {
    let mut options = options(settings, |sqlite| sqlite);
    options.max_connections(1);
    connect(options).await
}

pub(super) async fn open_readers(settings: &SqlSettings) -> Result<DatabaseConnection, DbErr> {
    let mut options = options(settings, |sqlite| sqlite.pragma("query_only", "ON"));
    options
        .max_connections(settings.read_connections)
        .acquire_timeout(Duration::from_millis(settings.busy_timeout_ms));
    connect(options).await
}

fn options(
    settings: &SqlSettings,
    more: impl Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync + 'static,
) -> ConnectOptions {
    let busy_timeout = Duration::from_millis(settings.busy_timeout_ms);
    let mut options = ConnectOptions::new(settings.url.clone());
    options
        .sqlx_logging(false)
        // A file does not go away like a server does.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .map_sqlx_sqlite_opts(move |sqlite| {
            more(
                sqlite
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .row_buffer_size(ROWS_ON_THE_WAY)
                    .statement_cache_capacity(STATEMENTS_PREPARED)
                    .busy_timeout(busy_timeout),
            )
        });
    options
}
