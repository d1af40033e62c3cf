//! What an error of the database means for the unit that met it.

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{DbErr, RuntimeErr};

/// Why a unit's transaction cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It met another unit, was undone, and may simply run again.
    Conflict,
    /// As `Conflict`: it waited for another's lock as long as it may.
    Locked,
    /// A row was not as it was read, or there already. Running again finds out
    /// why.
    Missed,
    /// The connection is gone, and the transaction with it.
    Lost,
    /// Nothing can be written here: the session is a reader's, or the server is
    /// no longer the one that writes.
    ReadOnly,
    /// A statement took longer than it may.
    Slow,
    /// The database refuses: full, or our mistake.
    Refused,
}

/// A migration added a column to a table that a statement of this connection reads
/// whole: the connection has the statement prepared, and never reads it again.
const ROW_TYPE_CHANGED: &str = "0A000";

/// Serialization failure, deadlock.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];
/// Lock not available in time.
const LOCKED: &str = "55P03";
const STATEMENT_TIMEOUT: &str = "57014";
const UNIQUE_VIOLATION: &str = "23505";
/// The server shuts down, crashed, or is starting.
const SHUTDOWNS: [&str; 3] = ["57P01", "57P02", "57P03"];
/// A standby says so, also one that was the primary when we connected.
const READ_ONLY: &str = "25006";
/// A paused client is not waited for; its connection is closed.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// MariaDB's numbers.
mod mariadb {
    pub const RECORD_CHANGED: u16 = 1020;
    pub const SHUTDOWN: u16 = 1053;
    pub const DUPLICATE: u16 = 1062;
    pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
    pub const DEADLOCK: u16 = 1213;
    /// It was demoted; another connection may find who writes now.
    pub const READ_ONLY_SERVER: u16 = 1290;
    pub const CONNECTION_KILLED: u16 = 1927;
    pub const STATEMENT_TIMEOUT: u16 = 1969;
}

impl Failure {
    pub fn of(error: &DbErr) -> Self {
        match error {
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error))
            | DbErr::Conn(RuntimeErr::SqlxError(error)) => Self::of_driver(error),
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => Self::Lost,
            // Of ours: a write that did not change as many rows as expected.
            DbErr::Custom(_) => Self::Missed,
            _ => Self::Refused,
        }
    }

    fn of_driver(error: &SqlxError) -> Self {
        match error {
            SqlxError::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
                Some(error) => Self::of_mariadb(error.number(), error.code()),
                None => Self::of_postgres(error.as_ref()),
            },
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolClosed
            | SqlxError::PoolTimedOut
            | SqlxError::WorkerCrashed => Self::Lost,
            _ => Self::Refused,
        }
    }

    fn of_postgres(error: &dyn DatabaseError) -> Self {
        error.code().map_or(Self::Refused, |code| {
            let code = code.as_ref();
            match code {
                UNIQUE_VIOLATION => Self::Missed,
                IDLE_IN_TRANSACTION | ROW_TYPE_CHANGED => Self::Lost,
                READ_ONLY => Self::ReadOnly,
                LOCKED => Self::Locked,
                STATEMENT_TIMEOUT => Self::Slow,
                _ if CONFLICTS.contains(&code) => Self::Conflict,
                // Class 08: connection exceptions.
                _ if SHUTDOWNS.contains(&code) || code.starts_with("08") => Self::Lost,
                _ => Self::Refused,
            }
        })
    }

    /// Its states are too coarse: a lock that was waited for in vain has none.
    fn of_mariadb(number: u16, state: Option<&str>) -> Self {
        match number {
            mariadb::DEADLOCK | mariadb::RECORD_CHANGED => Self::Conflict,
            mariadb::LOCK_WAIT_TIMEOUT => Self::Locked,
            mariadb::STATEMENT_TIMEOUT => Self::Slow,
            mariadb::DUPLICATE => Self::Missed,
            mariadb::CONNECTION_KILLED | mariadb::SHUTDOWN | mariadb::READ_ONLY_SERVER => {
                Self::Lost
            }
            _ if state.is_some_and(|state| state.starts_with("08")) => Self::Lost,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_mariadb_mean_what_codes_of_postgresql_do() {
        for (number, state, means) in [
            (1213, "40001", Failure::Conflict),
            (1205, "HY000", Failure::Locked),
            (1062, "23000", Failure::Missed),
            // No room, no column: our mistake.
            (1452, "23000", Failure::Refused),
            (1290, "HY000", Failure::Lost),
            (1792, "25006", Failure::Refused),
            (1927, "70100", Failure::Lost),
            (1040, "08004", Failure::Lost),
            (1969, "70100", Failure::Slow),
        ] {
            assert_eq!(Failure::of_mariadb(number, Some(state)), means, "{number}");
        }
    }
}
