//! What an error of the database means for the unit that met it.

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::{DbErr, RuntimeErr};

/// Why a unit's transaction cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It met another unit, was undone, and may simply run again.
    Conflict,
    /// A row was not as it was read, or there already. Running again finds out
    /// why.
    Missed,
    /// The connection is gone, and the transaction with it.
    Lost,
    /// The database refuses: full, out of time, or our mistake.
    Refused,
}

/// Serialization failure, deadlock, lock not available in time.
const CONFLICTS: [&str; 3] = ["40001", "40P01", "55P03"];
const UNIQUE_VIOLATION: &str = "23505";
/// The server shuts down, crashed, or is starting.
const SHUTDOWNS: [&str; 3] = ["57P01", "57P02", "57P03"];
/// A paused client is not waited for; its connection is closed.
const IDLE_IN_TRANSACTION: &str = "25P03";

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
            SqlxError::Database(error) => error.code().map_or(Self::Refused, |code| {
                let code = code.as_ref();
                match code {
                    UNIQUE_VIOLATION => Self::Missed,
                    IDLE_IN_TRANSACTION => Self::Lost,
                    _ if CONFLICTS.contains(&code) => Self::Conflict,
                    // Class 08: connection exceptions.
                    _ if SHUTDOWNS.contains(&code) || code.starts_with("08") => Self::Lost,
                    _ => Self::Refused,
                }
            }),
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolClosed
            | SqlxError::PoolTimedOut
            | SqlxError::WorkerCrashed => Self::Lost,
            _ => Self::Refused,
        }
    }
}
