//! The limits of a store, each with its name and unit.

use super::idempotency::KEPT_MS as ANSWERS_KEPT_MS;
use super::{Dialect, SqlError};
use crate::store::outbox::PUBLISHED_KEPT_MS;

/// How a [`super::SqlStore`] is opened.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// `sqlite://path/to/file.db`, `postgres://user@host/database` or
    /// `mysql://user@host/database`
    pub url: String,
    pub read_connections: u32,
    /// Of a server; SQLite has one.
    pub write_connections: u32,
    /// Of a server: each makes the holds and payments of some performances.
    pub checkout_connections: u32,
    /// Of a server, besides, for what nobody waits for.
    pub background_connections: u32,
    /// Reads that wait or run at once.
    pub read_waiting_max: usize,
    /// Units that wait to be written.
    pub write_queue_max: usize,
    /// Units that wait ahead of all others; see [`super::SqlStore::write_urgent`].
    pub urgent_queue_max: usize,
    /// Units committed together at most.
    pub batch_units_max: usize,
    /// Holds, payments, top-ups or coupons gathered into one unit at most.
    pub gather_max: usize,
    /// How long the first of them waits for more; 0 takes what waits already.
    pub gather_delay_ms: u64,
    /// How long to wait for another process's lock on the file.
    pub busy_timeout_ms: u64,
    /// From here on servers alone. How long a unit may wait for its turn.
    pub acquire_timeout_ms: u64,
    pub connect_timeout_ms: u64,
    /// Of one statement, by the server.
    pub statement_timeout_ms: u64,
    /// For a row that another unit has, by the server.
    pub lock_timeout_ms: u64,
    /// Of a whole unit, all its attempts included, however silent the server.
    pub unit_timeout_ms: u64,
    /// How long a command is answered by what was kept under its key.
    pub answers_kept_ms: u64,
    /// How long an event stays that was published.
    pub events_kept_ms: u64,
    /// Of PostgreSQL alone: a copy that what is only shown may be read from.
    pub replica: Option<ReplicaSettings>,
}

/// How a standby is read; see `showing::standby`.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    pub url: String,
    pub connections: u32,
    /// What is further behind is not read.
    pub lag_max_ms: u64,
    /// The name of this node's mark: no other node has it, in any database.
    pub node: u64,
}

impl SqlSettings {
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            read_connections: 4,
            write_connections: 10,
            checkout_connections: 4,
            background_connections: 2,
            read_waiting_max: 4_096,
            write_queue_max: 4_096,
            urgent_queue_max: 16,
            batch_units_max: 256,
            gather_max: 256,
            gather_delay_ms: 0,
            busy_timeout_ms: 5_000,
            acquire_timeout_ms: 2_000,
            connect_timeout_ms: 1_500,
            statement_timeout_ms: 4_000,
            lock_timeout_ms: 3_000,
            unit_timeout_ms: 5_000,
            answers_kept_ms: ANSWERS_KEPT_MS,
            events_kept_ms: PUBLISHED_KEPT_MS,
            replica: None,
        }
    }

    /// Which database it is.
    ///
    /// # Errors
    /// [`SqlError::Unsupported`] for a URL no adapter reads, and for a standby
    /// that is not one PostgreSQL's of another.
    pub(super) fn dialect(&self) -> Result<Dialect, SqlError> {
        let dialect = Dialect::of(&self.url)?;
        if let Some(replica) = &self.replica {
            let both = [dialect, Dialect::of(&replica.url)?];
            if both != [Dialect::Postgres; 2] {
                return Err(SqlError::Unsupported("only PostgreSQL has a standby"));
            }
        }
        Ok(dialect)
    }
}
