//! The unit of work: what one caller wants done in one transaction.
//!
//! A unit owns its input and runs on the store's runtime, never in the caller's
//! future: a caller that is cancelled while its unit is queued, running or
//! committing changes nothing about it, and no connection can be given back
//! inside an open transaction.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, ExecResult, Iterable,
    QueryResult, Statement, Value,
};
use tokio::sync::oneshot;

use crate::domain::time::UnixMs;

use super::deferred::DeferredWrites;

/// What can go wrong with any unit, whatever it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    #[error("unsupported database: {0}")]
    Unsupported(&'static str),
    /// The queue is full; the unit did not run.
    #[error("too many units of work are waiting")]
    Overloaded,
    /// The store is shut down; the unit may have run.
    #[error("the store has stopped")]
    Stopped,
    /// The unit panicked; it changed nothing.
    #[error("a unit of work failed unexpectedly")]
    Panicked,
    /// The database refused or cannot be reached; the unit may have happened.
    #[error("{0}")]
    Unavailable(String),
}

impl From<DbErr> for SqlError {
    fn from(error: DbErr) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A unit's own transaction, and the database's clock when the unit began.
/// Entities take it as their connection: `Entity::find().one(tx)`.
pub struct Tx {
    transaction: DatabaseTransaction,
    now: UnixMs,
    deferred: Mutex<DeferredWrites>,
}

impl Tx {
    pub(super) fn new(transaction: DatabaseTransaction, now: UnixMs) -> Self {
        Self {
            transaction,
            now,
            deferred: Mutex::default(),
        }
    }

    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// Writes with what comes next, before the unit reads again or ends. Unless
    /// it changes exactly `rows` rows, the unit fails.
    pub fn defer(&self, sql: &str, values: impl IntoIterator<Item = Value>, rows: u64) {
        let values = values.into_iter().collect();
        self.deferred().push(sql, values, rows);
    }

    fn deferred(&self) -> MutexGuard<'_, DeferredWrites> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, and what it left to be written: on a reader it is refused.
    pub(super) async fn run_whole<I, T, E, W>(&self, work: &W, input: &I) -> Result<T, E>
    where
        E: From<SqlError>,
        W: Work<I, T, E>,
    {
        let answer = work.run(self, input).await?;
        self.send_deferred().await.map_err(SqlError::from)?;
        Ok(answer)
    }

    async fn send_deferred(&self) -> Result<(), DbErr> {
        let writes = std::mem::take(&mut *self.deferred());
        writes.send(&self.transaction).await
    }

    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.transaction.commit().await
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        self.transaction.rollback().await
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.send_deferred().await?;
        self.transaction.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.send_deferred().await?;
        self.transaction.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.send_deferred().await?;
        self.transaction.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.send_deferred().await?;
        self.transaction.query_all_raw(statement).await
    }
}

/// An insert that leaves a row alone which has the key already; the number of
/// rows inserted tells. A failed statement would end the unit on PostgreSQL.
#[must_use]
pub fn keep_existing<E: EntityTrait>() -> OnConflict {
    OnConflict::columns(E::PrimaryKey::iter())
        .do_nothing_on(E::PrimaryKey::iter())
        .to_owned()
}

/// The body of a unit, for closures of the form
/// `|tx, input| Box::pin(async move { … })`.
pub trait Work<I, T, E>:
    for<'a> Fn(&'a Tx, &'a I) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static
{
    fn run<'a>(&self, tx: &'a Tx, input: &'a I) -> BoxFuture<'a, Result<T, E>> {
        self(tx, input)
    }
}

impl<I, T, E, F> Work<I, T, E> for F where
    F: for<'a> Fn(&'a Tx, &'a I) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static
{
}

/// A queued unit, whatever it answers.
#[async_trait]
pub(super) trait Unit: Send {
    /// Runs it; `false` if it refused and its changes must be undone.
    async fn run(&mut self, tx: &Tx) -> bool;

    /// Tells the caller, once the fate of its transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), SqlError>);
}

/// A unit with its answer still to be given.
pub(super) struct Pending<I, T, E, W> {
    input: I,
    work: W,
    /// `None` until it ran to its end.
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<I, T, E, W> Pending<I, T, E, W> {
    pub(super) fn new(input: I, work: W, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            input,
            work,
            result: None,
            reply,
        }
    }
}

#[async_trait]
impl<I, T, E, W> Unit for Pending<I, T, E, W>
where
    I: Send + Sync,
    T: Send,
    E: From<SqlError> + Send,
    W: Work<I, T, E>,
{
    async fn run(&mut self, tx: &Tx) -> bool {
        let result = tx.run_whole(&self.work, &self.input).await;
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, committed: Result<(), SqlError>) {
        // A refusal too may rest on what was undone with the batch.
        let answer = match (committed, self.result) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(SqlError::Panicked.into()),
        };
        // The caller may have gone.
        let _ = self.reply.send(answer);
    }
}
