//! The unit of work: what one caller wants done in one transaction.
//!
//! A unit owns its input and runs on the store's runtime, never in the caller's
//! future: a caller that is cancelled while its unit is queued, running or
//! committing changes nothing about it, and no connection can be given back
//! inside an open transaction.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    ExecResult, Iterable, QueryResult, QueryTrait, Statement, Value,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::time::UnixMs;
use crate::domain::trace::Trace;
use crate::metrics::{RecentTimes, UnderWay};

use super::deferred::DeferredWrites;
use super::dialect;
use super::failure::Failure;
use super::health::Health;

mod traced;

/// What can go wrong with any unit, whatever it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    #[error("unsupported database: {0}")]
    Unsupported(&'static str),
    /// The queue is full; the unit did not run.
    #[error("too many units of work are waiting")]
    Overloaded,
    /// It met other units time and again; it changed nothing.
    #[error("too many units of work wanted the same")]
    Contended,
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

/// Whose clock is the database's.
#[derive(Clone)]
pub enum DatabaseClock {
    /// One that was handed to the store: SQLite has none of its own, and tests
    /// move it.
    Given(Arc<dyn Clock>),
    /// The server's, so that nodes with different clocks agree.
    Server,
}

/// A unit's own transaction, and the database's clock when the unit began, or
/// when it got what it waited for ([`super::locks`]).
/// Entities take it as their connection: `Entity::find().one(tx)`.
pub struct Tx {
    transaction: DatabaseTransaction,
    clock: DatabaseClock,
    now: AtomicU64,
    /// How long the answers of commands count.
    answers_kept_ms: u64,
    deferred: Mutex<DeferredWrites>,
    /// Of the request that the unit is for.
    trace: Mutex<Option<Trace>>,
    locked: Mutex<BTreeSet<String>>,
    /// The first that a statement met: the transaction is over with it.
    failure: Mutex<Option<Failure>>,
    /// Told of each answer.
    health: Option<Arc<Health>>,
    /// What it asked, for who looks at the plans.
    #[cfg(test)]
    asked: Mutex<Vec<Statement>>,
}

impl Tx {
    pub(super) async fn new(
        transaction: DatabaseTransaction,
        clock: DatabaseClock,
        answers_kept_ms: u64,
        health: Option<Arc<Health>>,
    ) -> Result<Self, DbErr> {
        let tx = Self {
            transaction,
            clock,
            now: AtomicU64::default(),
            answers_kept_ms,
            deferred: Mutex::default(),
            trace: Mutex::default(),
            locked: Mutex::default(),
            failure: Mutex::default(),
            health,
            #[cfg(test)]
            asked: Mutex::default(),
        };
        tx.read_clock().await?;
        Ok(tx)
    }

    #[must_use]
    pub fn now(&self) -> UnixMs {
        UnixMs(self.now.load(Ordering::Relaxed))
    }

    /// Judges by this time from here on: what it reads is a copy as of then.
    pub(super) fn judge_as_of(&self, then: UnixMs) {
        self.now.store(then.0, Ordering::Relaxed);
    }

    pub(super) fn answers_kept_ms(&self) -> u64 {
        self.answers_kept_ms
    }

    /// Judges by the present time from here on.
    pub(super) async fn read_clock(&self) -> Result<(), DbErr> {
        let now = match &self.clock {
            DatabaseClock::Given(clock) => clock.now().0,
            DatabaseClock::Server => {
                let select = dialect::clock(self.get_database_backend());
                self.clock_of(&select, []).await?
            }
        };
        self.now.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a lock by selecting what it is on, and judges by the time at which
    /// it got it, in one trip.
    pub(super) async fn lock(&self, select: &str, values: Vec<Value>) -> Result<(), DbErr> {
        let backend = self.get_database_backend();
        let now = match &self.clock {
            DatabaseClock::Given(clock) => {
                let statement = dialect::statement(backend, select, values);
                self.query_all_raw(statement).await?;
                clock.now().0
            }
            DatabaseClock::Server => {
                let timed = dialect::timed(backend, select);
                self.clock_of(&timed, values).await?
            }
        };
        self.now.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// As [`Tx::lock`], of those rows that nobody else has locked: answers their
    /// ids.
    pub(super) async fn lock_free(
        &self,
        select: &str,
        values: Vec<Value>,
    ) -> Result<Vec<String>, DbErr> {
        let backend = self.get_database_backend();
        let (statement, mut now) = match &self.clock {
            DatabaseClock::Given(_) => (select.to_owned(), None),
            DatabaseClock::Server => (dialect::timed_rows(backend, select), Some(0_i64)),
        };
        let rows = self
            .query_all_raw(dialect::statement(backend, &statement, values))
            .await?;
        let mut got = Vec::with_capacity(rows.len());
        for row in &rows {
            got.push(row.try_get("", "id")?);
            if let Some(latest) = &mut now {
                *latest = row.try_get::<i64>("", "now")?.max(*latest);
            }
        }
        let now = match (&self.clock, now) {
            (DatabaseClock::Given(clock), _) => clock.now().0,
            (DatabaseClock::Server, latest) => {
                u64::try_from(latest.unwrap_or_default()).unwrap_or_default()
            }
        };
        // Without a row nothing was got, and nothing is later than before.
        self.now.fetch_max(now, Ordering::Relaxed);
        Ok(got)
    }

    async fn clock_of(
        &self,
        select: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64, DbErr> {
        let statement = dialect::statement(self.get_database_backend(), select, values);
        let row = self.query_one_raw(statement).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("the clock".to_owned()))?;
        let now: i64 = row.try_get("", "now")?;
        Ok(u64::try_from(now).unwrap_or_default())
    }

    /// Whether no other unit writes while this one does.
    pub(super) fn is_alone(&self) -> bool {
        self.transaction.get_database_backend() == DbBackend::Sqlite
    }

    pub(super) fn has_lock(&self, name: &str) -> bool {
        let locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.contains(name)
    }

    /// Whether the lock of this name is not taken yet.
    pub(super) fn takes_lock(&self, name: &str) -> bool {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.insert(name.to_owned())
    }

    /// What a statement of it met. On a server the transaction is over then,
    /// whatever the unit says: a commit would be a rollback.
    pub(super) fn failure(&self) -> Option<Failure> {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(Failure::of(error));
        } else if let Some(health) = &self.health {
            health.hears();
        }
        result
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

    pub(super) async fn send_deferred(&self) -> Result<(), DbErr> {
        let writes = std::mem::take(&mut *self.deferred());
        #[cfg(test)]
        for statement in writes.statements(self.get_database_backend()) {
            self.note_asked(&statement);
        }
        self.noted(writes.send(&self.transaction).await)
    }

    #[cfg(test)]
    fn note_asked(&self, statement: &Statement) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(statement.clone());
    }

    /// Takes what was asked since the last time.
    #[cfg(test)]
    pub(super) async fn take_asked(&self) -> Result<Vec<Statement>, DbErr> {
        self.send_deferred().await?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut asked))
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
        #[cfg(test)]
        self.note_asked(&statement);
        self.noted(self.transaction.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.send_deferred().await?;
        self.noted(self.transaction.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.send_deferred().await?;
        #[cfg(test)]
        self.note_asked(&statement);
        self.noted(self.transaction.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.send_deferred().await?;
        #[cfg(test)]
        self.note_asked(&statement);
        self.noted(self.transaction.query_all_raw(statement).await)
    }
}

/// Inserts rows; one that has the key of another already, whichever key, leaves
/// that alone. Answers how many were inserted. A failed statement would end the
/// unit on PostgreSQL.
///
/// On MariaDB the rows that are there would count too, were they kept as
/// `ON DUPLICATE KEY UPDATE` keeps them. `IGNORE` also overlooks a reference to
/// nothing: who inserts so reads back what he needs to be there.
pub async fn insert_missing<A: ActiveModelTrait>(
    tx: &Tx,
    rows: impl IntoIterator<Item = A>,
) -> Result<u64, DbErr> {
    let insert = A::Entity::insert_many(rows);
    if tx.get_database_backend() == DbBackend::MySql {
        let mut statement = insert.build(DbBackend::MySql);
        statement.sql = statement.sql.replacen("INSERT", "INSERT IGNORE", 1);
        return Ok(tx.execute_raw(statement).await?.rows_affected());
    }
    let keep = OnConflict::new()
        .do_nothing_on(<A::Entity as EntityTrait>::PrimaryKey::iter())
        .to_owned();
    insert.on_conflict(keep).exec_without_returning(tx).await
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

/// Whether a unit still waits. Its caller may stop waiting only before it runs:
/// then it did not, and will not.
#[derive(Clone)]
pub(super) struct Turn(Arc<Wait>);

struct Wait {
    state: AtomicU8,
    under_way: UnderWay,
}

const WAITS: u8 = 0;
const RUNS: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Turn {
    /// Waits from now on; how long is told to `waits`.
    pub(super) fn new(waits: &Arc<RecentTimes>) -> Self {
        Self(Arc::new(Wait {
            state: AtomicU8::new(WAITS),
            under_way: waits.begin(),
        }))
    }

    /// Whether the unit runs, from now on at the latest.
    pub(super) fn begin(&self) -> bool {
        self.goes_to(RUNS) || self.0.state.load(Ordering::Relaxed) == RUNS
    }

    fn goes_to(&self, state: u8) -> bool {
        let relaxed = Ordering::Relaxed;
        let went = self
            .0
            .state
            .compare_exchange(WAITS, state, relaxed, relaxed);
        if went.is_ok() {
            self.0.under_way.end();
        }
        went.is_ok()
    }

    /// Whether the unit never runs.
    pub(super) fn give_up(&self) -> bool {
        self.goes_to(GIVEN_UP)
    }

    /// It has no place in the queue: it would have waited in vain so long.
    pub(super) fn refuse(&self, wait: Duration) {
        self.0.under_way.end_as(wait);
    }
}

/// Of a unit that stands for one command.
pub(super) const ATTEMPTS_MAX: u32 = 10;

/// A queued unit, whatever it answers.
#[async_trait]
pub(super) trait Unit: Send {
    /// Whether its turn has come; `false` if its caller has given up.
    fn begin(&self) -> bool;

    /// Runs it; `false` if it refused and its changes must be undone.
    async fn run(&mut self, tx: &Tx) -> bool;

    /// How often it runs, when it fails so, before it is told that too many want
    /// the same.
    fn attempts_max(&self, _failure: Failure) -> u32 {
        ATTEMPTS_MAX
    }

    /// When it must be over, if that is before any unit's time.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Tells the caller, once the fate of its transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), SqlError>);
}

/// A unit with its answer still to be given.
pub(super) struct Pending<I, T, E, W> {
    input: I,
    work: W,
    turn: Turn,
    /// `None` until it ran to its end.
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<I, T, E, W> Pending<I, T, E, W> {
    pub(super) fn new(input: I, work: W, turn: Turn, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            input,
            work,
            turn,
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
    fn begin(&self) -> bool {
        self.turn.begin()
    }

    async fn run(&mut self, tx: &Tx) -> bool {
        self.result = None;
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
