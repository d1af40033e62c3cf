//! A database that is a server: PostgreSQL or MariaDB, told apart by the URL.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement,
};

use super::{Dialect, SqlSettings, mariadb, postgres};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Each statement sees what is committed; units lock what they decide on.
    Write,
    /// As `Write`, for batches of holds and payments.
    Checkout,
    /// One snapshot, and nothing can be written.
    Read,
    /// As `Read`, and takes as long as it takes.
    Survey,
    /// Takes as long as it takes.
    Schema,
}

impl Purpose {
    /// Whether what its units do is kept.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Checkout)
    }
}

/// Boxed: a way in through any driver nests deeper than compilers follow.
///
/// # Errors
/// What the database or the network said.
pub(super) fn connect(
    options: ConnectOptions,
) -> BoxFuture<'static, Result<DatabaseConnection, DbErr>> {
    Database::connect(options).boxed()
}

/// # Errors
/// What the server or the network said.
pub(super) async fn open(
    settings: &SqlSettings,
    purpose: Purpose,
) -> Result<DatabaseConnection, DbErr> {
    match Dialect::of(&settings.url) {
        Ok(Dialect::Postgres) => postgres::open(settings, purpose).await,
        Ok(Dialect::MariaDb) => mariadb::open(settings, purpose).await,
        Ok(Dialect::Sqlite) | Err(_) => Err(DbErr::Custom("not a server".to_owned())),
    }
}

/// Forgets how the statements of a connection are carried out.
///
/// # Errors
/// What the server or the network said.
pub(super) async fn plan_anew(connection: &DatabaseConnection) -> Result<(), DbErr> {
    match connection.get_database_backend() {
        DbBackend::Postgres => connection.execute_unprepared("DISCARD PLANS").await?,
        // Elsewhere each execution is planned for itself.
        _ => return Ok(()),
    };
    Ok(())
}

/// What the server's own settings may lose of what it said was committed.
///
/// # Errors
/// What the server or the network said.
pub(super) async fn what_may_be_lost(
    connection: &DatabaseConnection,
) -> Result<Option<&'static str>, DbErr> {
    let backend = connection.get_database_backend();
    let (select, warning) = match backend {
        DbBackend::Postgres => (
            "SELECT CAST(current_setting('synchronous_commit') = 'off' AS INT) AS loses",
            "synchronous_commit is off: a crash of the database may lose seats that were paid",
        ),
        _ => (
            "SELECT CAST(@@innodb_flush_log_at_trx_commit <> 1 AS INT) AS loses",
            "innodb_flush_log_at_trx_commit is not 1: a crash of the database may lose seats \
             that were paid",
        ),
    };
    let asked = Statement::from_string(backend, select);
    let row = connection.query_one_raw(asked).await?;
    let loses: i32 = row.map_or(Ok(0), |row| row.try_get("", "loses"))?;
    Ok((loses != 0).then_some(warning))
}

/// Applies all pending migrations; of nodes that start together one does.
///
/// # Errors
/// What the database said.
pub(super) async fn migrate_up(db: &DatabaseConnection, dialect: Dialect) -> Result<(), DbErr> {
    lock_schema(db, dialect).await?;
    Migrator::up(db, None).await
}

/// # Errors
/// What the database said.
pub(super) async fn migrate_down(
    db: &DatabaseConnection,
    dialect: Dialect,
    steps: u32,
) -> Result<(), DbErr> {
    lock_schema(db, dialect).await?;
    Migrator::down(db, Some(steps)).await
}

/// Until the connection is closed. A file is locked by who writes it.
async fn lock_schema(db: &DatabaseConnection, dialect: Dialect) -> Result<(), DbErr> {
    match dialect {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => postgres::lock_schema(db).await,
        Dialect::MariaDb => mariadb::lock_schema(db).await,
    }
}
