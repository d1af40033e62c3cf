//! Which database a URL names, and how our SQL is said to it.
//!
//! The SQL is one body, written for PostgreSQL and SQLite: `$n` placeholders,
//! `ON CONFLICT DO NOTHING`, sums cast to integers, text compared byte by byte.
//! MariaDB is told the same in its own words (see [`words`]). What they differ in
//! besides is who writes: SQLite has one writer, so a unit there is alone; on
//! servers units run side by side, and hold each other off with
//! [`super::locks`].

use sea_orm::{DbBackend, Statement, Value};

use super::SqlError;

mod words;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Dialect {
    /// # Errors
    /// [`SqlError::Unsupported`] for a URL that no adapter reads, and for a
    /// database that connections would not share.
    pub fn of(url: &str) -> Result<Self, SqlError> {
        let is = |scheme: &str| url.starts_with(scheme);
        if is("postgres://") || is("postgresql://") {
            return Ok(Self::Postgres);
        }
        if is("mysql://") || is("mariadb://") {
            return Ok(Self::MariaDb);
        }
        let Some(file) = url.strip_prefix("sqlite:") else {
            return Err(SqlError::Unsupported(
                "expected sqlite://PATH, postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE",
            ));
        };
        if file.contains(":memory:") || file.contains("mode=memory") {
            // Each connection would have a database of its own.
            return Err(SqlError::Unsupported("a database in memory is not shared"));
        }
        Ok(Self::Sqlite)
    }

    /// Whether the database is a server, with a clock and writers side by side.
    #[must_use]
    pub fn is_server(self) -> bool {
        match self {
            Self::Sqlite => false,
            Self::Postgres | Self::MariaDb => true,
        }
    }
}

/// A statement of ours, for any database.
pub(super) fn statement(
    backend: DbBackend,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    match backend {
        DbBackend::MySql => {
            let values: Vec<Value> = values.into_iter().collect();
            let (sql, values) = words::of_mariadb(sql, &values);
            Statement::from_sql_and_values(backend, sql, values)
        }
        _ => Statement::from_sql_and_values(backend, sql, values),
    }
}

/// Deletes up to `$limit` rows of a table that meet a condition. `key` names a
/// row.
pub(super) fn delete_some(
    backend: DbBackend,
    table: &str,
    key: &str,
    condition: &str,
    limit: &str,
) -> String {
    match backend {
        // It would scan the table for a list of keys.
        DbBackend::MySql => format!("DELETE FROM {table} WHERE {condition} LIMIT {limit}"),
        _ => format!(
            "DELETE FROM {table} WHERE {condition} AND ({key}) IN (SELECT {key} FROM \
             (SELECT {key} FROM {table} WHERE {condition} LIMIT {limit}) AS portion)"
        ),
    }
}

/// The server's clock as Unix milliseconds: floored, as our own clock is, and of
/// this moment, not of when the statement or the transaction began.
const POSTGRES_CLOCK: &str = "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)";
const MARIADB_CLOCK: &str = "CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000) AS SIGNED)";

/// Selects the clock, as `now`.
pub(super) fn clock(backend: DbBackend) -> String {
    match backend {
        DbBackend::MySql => format!("SELECT {MARIADB_CLOCK} AS now"),
        _ => format!("SELECT {POSTGRES_CLOCK} AS now"),
    }
}

/// `select`, which locks rows, with the clock of when all locks were got.
pub(super) fn timed(backend: DbBackend, select: &str) -> String {
    match (backend, select.split_once(" FROM ")) {
        // A row is read once its lock is got, and the last one is the latest.
        (DbBackend::MySql, Some((_, from))) => {
            format!("SELECT COALESCE(MAX({MARIADB_CLOCK}), {MARIADB_CLOCK}) AS now FROM {from}")
        }
        // What an aggregate is selected beside is computed after it.
        _ => format!(
            "WITH locked AS ({select}) SELECT COUNT(*) AS locks, {POSTGRES_CLOCK} AS now FROM locked"
        ),
    }
}

/// As [`timed`], with each row's first column, and the clock of when its lock was
/// got: for a select that waits for nobody.
pub(super) fn timed_rows(backend: DbBackend, select: &str) -> String {
    match (backend, select.split_once(" FROM ")) {
        (DbBackend::MySql, Some((columns, from))) => {
            format!("{columns}, {MARIADB_CLOCK} AS now FROM {from}")
        }
        _ => format!("WITH locked AS ({select}) SELECT id, {POSTGRES_CLOCK} AS now FROM locked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_database() {
        for (url, dialect) in [
            ("sqlite:///var/lib/usher.db", Dialect::Sqlite),
            ("postgres://u@h/d", Dialect::Postgres),
            ("postgresql://u@h/d", Dialect::Postgres),
            ("mysql://u@h/d", Dialect::MariaDb),
            ("mariadb://u@h/d", Dialect::MariaDb),
        ] {
            assert_eq!(Dialect::of(url), Ok(dialect), "{url}");
        }
        for url in ["oracle://u@h/d", "", "sqlite::memory:", "mysql:u@h"] {
            assert!(Dialect::of(url).is_err(), "{url}");
        }
    }
}
