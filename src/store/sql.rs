//! The SQL store: rooms, catalog, holds, money and the outbox, through SeaORM.
//!
//! Mechanism: all SQL runs on a runtime of its own. A caller hands over a unit
//! of work and waits for its answer; whether it waits to the end makes no
//! difference to the unit (see [`unit`]). Reads see one snapshot. Writes are
//! queued to whoever may write: for SQLite one task with one connection, which
//! commits all units that wait together (see [`gather`]); for PostgreSQL and
//! MariaDB a number of workers, each with a connection and one unit at a time
//! (see [`workers`]). What they differ in besides is in [`dialect`], [`list`] and
//! [`locks`]. Holds and payments that wait become one unit (see `sales::lanes`).
//! What is only shown may come from a standby (see [`showing`]), and nothing else.
//!
//! Invariants:
//! - A unit is atomic and durable when its caller hears `Ok`.
//! - No future of a caller ever holds a connection or a transaction.
//! - Queues are bounded; a full one answers [`SqlError::Overloaded`] and the
//!   unit does not run.

use std::sync::Arc;
use std::time::Duration;

use migrations::{MigrationStatus, Migrator, MigratorTrait};
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::RecentTimes;

pub mod backup;
pub mod columns;
mod deferred;
pub mod dialect;
mod entity;
mod failure;
mod gather;
mod health;
pub mod idempotency;
mod inbox;
mod leases;
mod list;
mod locks;
pub(crate) mod mariadb;
pub mod marks;
mod opening;
pub mod outbox;
#[cfg(test)]
mod plans;
mod pools;
pub(crate) mod postgres;
pub mod query;
pub mod rooms;
mod runtime;
mod sales;
mod server;
mod settings;
mod showing;
mod signing;
mod sqlite;
pub mod unit;
mod workers;

pub use dialect::Dialect;
pub use pools::Pool;
pub use settings::{ReplicaSettings, SqlSettings};
pub use showing::StandbyFigures;
pub use unit::{DatabaseClock, SqlError, Tx, Work};

use opening::{Home, Queues, Readers};
use pools::Waits;
use runtime::SqlRuntime;
use sales::Lanes;
use server::Purpose;
use showing::Standby;
use unit::{Pending, Turn, Unit};

/// One opened database. Shared by `Arc`; dropping it abandons what still runs,
/// [`SqlStore::shutdown`] does not.
pub struct SqlStore {
    runtime: SqlRuntime,
    tasks: TaskTracker,
    stop: CancellationToken,
    queues: Queues,
    lanes: Lanes,
    /// Read by `showing` alone.
    standby: Option<Arc<Standby>>,
    settings: SqlSettings,
    dialect: Dialect,
    clock: DatabaseClock,
    waits: Waits,
}

impl SqlStore {
    /// Opens with the default [`SqlSettings`]. `clock` is taken for the
    /// database's.
    ///
    /// # Errors
    /// See [`SqlStore::open`].
    pub async fn connect(url: &str, clock: Arc<dyn Clock>) -> Result<Self, SqlError> {
        Self::connect_with(SqlSettings::new(url), clock).await
    }

    /// # Errors
    /// See [`SqlStore::open`].
    pub async fn connect_with(
        settings: SqlSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SqlError> {
        Self::open(settings, DatabaseClock::Given(clock)).await
    }

    /// # Errors
    /// [`SqlError::Unsupported`] for a URL no adapter reads, and for a database
    /// without a clock where none is given; [`SqlError::Unavailable`] when the
    /// database cannot be opened.
    pub async fn open(settings: SqlSettings, clock: DatabaseClock) -> Result<Self, SqlError> {
        let dialect = settings.dialect()?;
        let runtime = SqlRuntime::start()?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let home = Home {
            runtime: &runtime,
            tasks: &tasks,
            stop: &stop,
        };
        let queues = match dialect {
            Dialect::Sqlite => opening::sqlite(home, &settings, clock.clone()).await?,
            Dialect::Postgres | Dialect::MariaDb => {
                opening::server(home, &settings, clock.clone()).await?
            }
        };
        let lanes = Lanes::start(&runtime, &queues, &settings);
        let waits = Waits::default();
        let standby = Standby::start(home, &settings, &clock, &queues, &waits);
        Ok(Self {
            runtime,
            tasks,
            stop,
            queues,
            lanes,
            standby,
            settings,
            dialect,
            clock,
            waits,
        })
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Connections that this pool may open.
    #[must_use]
    pub fn connections_max(&self, pool: Pool) -> u32 {
        match pool {
            Pool::Reads => self.settings.read_connections,
            Pool::Standby => {
                let replica = self.settings.replica.as_ref();
                replica.map_or(0, |replica| replica.connections)
            }
            _ if !self.dialect.is_server() => 1,
            Pool::Checkout => self.settings.checkout_connections,
            Pool::Writes => self.settings.write_connections,
            Pool::Background => self.settings.background_connections,
        }
    }

    /// How long units of work waited for their turn in this pool.
    #[must_use]
    pub fn recent_waits(&self, pool: Pool) -> &RecentTimes {
        self.waits.of(pool)
    }

    /// Runs `work` as one durable transaction, to its end even if the caller
    /// goes away. `work` may run again when its transaction met a conflict, so
    /// it takes its input by reference and has no effect but through `tx`.
    ///
    /// # Errors
    /// What `work` refuses with: then nothing was changed. Or a [`SqlError`].
    pub async fn write<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        self.queue(Pool::Writes, &self.queues.write, input, work)
            .await
    }

    /// As [`SqlStore::write`], for what nobody waits for.
    ///
    /// # Errors
    /// As [`SqlStore::write`].
    pub async fn write_background<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        self.queue(Pool::Background, &self.queues.background, input, work)
            .await
    }

    /// As [`SqlStore::write`], but ahead of all units that wait: for the few
    /// that say that this node lives. However full the queue is, such a unit
    /// waits for no more than the batch that is being written.
    ///
    /// # Errors
    /// As [`SqlStore::write`].
    pub async fn write_urgent<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        self.run_queued(Pool::Background, &self.queues.urgent, input, work)
            .await
    }

    /// Runs `work` on one consistent snapshot. What it writes is
    /// refused, at once or at its end.
    ///
    /// # Errors
    /// What `work` refuses with, or a [`SqlError`].
    pub async fn read<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        match &self.queues.readers {
            Readers::Workers(queue) => self.queue(Pool::Reads, queue, input, work).await,
            Readers::Pool {
                connections,
                permits,
            } => {
                let (connections, permits) = (connections.clone(), Arc::clone(permits));
                self.read_from(connections, permits, input, work).await
            }
        }
    }

    /// As [`SqlStore::read`], for what may take long: on a server by a
    /// connection of its own, without time-outs.
    ///
    /// # Errors
    /// As [`SqlStore::read`].
    pub async fn read_at_length<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        match self.dialect {
            Dialect::Sqlite => self.read(input, work).await,
            Dialect::Postgres | Dialect::MariaDb => {
                let opening = server::open(&self.settings, Purpose::Survey);
                let connection = opening.await.map_err(SqlError::from)?;
                let one = Arc::new(Semaphore::new(1));
                let read = self.read_from(connection.clone(), one, input, work).await;
                // Closing is a courtesy: the server notices anyway.
                let _ = connection.close().await;
                read
            }
        }
    }

    async fn read_from<I, T, E, W>(
        &self,
        connections: DatabaseConnection,
        permits: Arc<Semaphore>,
        input: I,
        work: W,
    ) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        let Ok(permit) = permits.try_acquire_owned() else {
            return Err(SqlError::Overloaded.into());
        };
        let (clock, waits) = (self.clock.clone(), Arc::clone(self.waits.of(Pool::Reads)));
        let kept_ms = self.settings.answers_kept_ms;
        let reading = async move {
            let _permit = permit;
            let wait = waits.begin();
            let snapshot = connections.begin().await;
            wait.end();
            let snapshot = snapshot.map_err(SqlError::from)?;
            let tx = Tx::new(snapshot, clock, kept_ms, None).await;
            let tx = tx.map_err(SqlError::from)?;
            let result = tx.run_whole(&work, &input).await;
            tx.rollback().await.map_err(SqlError::from)?;
            result
        };
        match self.tasks.spawn_on(reading, self.runtime.handle()).await {
            Ok(result) => result,
            Err(stopped) if stopped.is_panic() => Err(SqlError::Panicked.into()),
            Err(_) => Err(SqlError::Stopped.into()),
        }
    }

    /// Queues a unit, unless the server is known not to answer.
    async fn queue<I, T, E, W>(
        &self,
        pool: Pool,
        queue: &mpsc::Sender<Box<dyn Unit>>,
        input: I,
        work: W,
    ) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        self.admit()?;
        self.run_queued(pool, queue, input, work).await
    }

    /// # Errors
    /// While the server is known not to answer.
    fn admit(&self) -> Result<(), SqlError> {
        match &self.queues.health {
            Some(health) => health.admit(),
            None => Ok(()),
        }
    }

    async fn run_queued<I, T, E, W>(
        &self,
        pool: Pool,
        queue: &mpsc::Sender<Box<dyn Unit>>,
        input: I,
        work: W,
    ) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
        W: Work<I, T, E>,
    {
        self.wait_in(pool, queue, |turn, reply| {
            Box::new(Pending::new(input, work, turn, reply))
        })
        .await
    }

    /// Puts what `make` makes into a queue and waits for its answer, or for its
    /// turn in vain.
    async fn wait_in<Q, T, E: From<SqlError>>(
        &self,
        pool: Pool,
        queue: &mpsc::Sender<Q>,
        make: impl FnOnce(Turn, oneshot::Sender<Result<T, E>>) -> Q,
    ) -> Result<T, E> {
        let (reply, mut answer) = oneshot::channel();
        let turn = Turn::new(self.waits.of(pool));
        let waiting = make(turn.clone(), reply);
        queue.try_send(waiting).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                turn.refuse(Duration::from_millis(self.settings.acquire_timeout_ms));
                SqlError::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => SqlError::Stopped,
        })?;
        if let Some(health) = &self.queues.health {
            let within = Duration::from_millis(self.settings.acquire_timeout_ms);
            let waited = timeout(within, &mut answer).await;
            if waited.is_err() && turn.give_up() {
                return Err(health.why_waiting(within).into());
            }
            if let Ok(answered) = waited {
                return answered.unwrap_or_else(|_| Err(SqlError::Stopped.into()));
            }
        }
        // Nobody answers only if the runtime was torn down under the unit.
        answer
            .await
            .unwrap_or_else(|_| Err(SqlError::Stopped.into()))
    }

    /// Applies all pending migrations.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`] with what the database said.
    pub async fn migrate_up(&self) -> Result<(), SqlError> {
        let dialect = self.dialect;
        self.with_schema(move |db| async move { server::migrate_up(&db, dialect).await })
            .await
    }

    /// Takes back the last `steps` migrations, with their data.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`] with what the database said.
    pub async fn migrate_down(&self, steps: u32) -> Result<(), SqlError> {
        let dialect = self.dialect;
        self.with_schema(move |db| async move { server::migrate_down(&db, dialect, steps).await })
            .await
    }

    /// All migrations by name, and whether each is applied.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`] with what the database said.
    pub async fn migrate_status(&self) -> Result<Vec<(String, bool)>, SqlError> {
        self.with_schema(|db| async move {
            let all = Migrator::get_migration_with_status(&db).await?;
            Ok(all
                .iter()
                .map(|one| {
                    let applied = one.status() == MigrationStatus::Applied;
                    (one.name().to_owned(), applied)
                })
                .collect())
        })
        .await
    }

    /// Schema work, on a connection of its own that is closed afterwards.
    async fn with_schema<T, F, R>(&self, work: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: FnOnce(DatabaseConnection) -> R + Send + 'static,
        R: Future<Output = Result<T, DbErr>> + Send,
    {
        let (settings, dialect) = (self.settings.clone(), self.dialect);
        let migrating = async move {
            let db = match dialect {
                Dialect::Sqlite => sqlite::open_writer(&settings).await?,
                Dialect::Postgres | Dialect::MariaDb => {
                    server::open(&settings, Purpose::Schema).await?
                }
            };
            let result = work(db.clone()).await;
            db.close().await?;
            result
        };
        match self.tasks.spawn_on(migrating, self.runtime.handle()).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(SqlError::Panicked),
        }
    }

    /// Takes no more units, finishes those that wait, and closes the database.
    /// `false` if that took longer than `within`.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let begun = Instant::now();
        // While those who run their batches still do.
        let lanes = timeout(within, self.lanes.finish()).await;
        self.stop.cancel();
        self.tasks.close();
        let within = within.saturating_sub(begun.elapsed());
        let pool = match &self.queues.readers {
            Readers::Workers(_) => None,
            Readers::Pool {
                connections,
                permits,
            } => {
                permits.close();
                Some(connections.clone())
            }
        };
        let finished = async {
            self.tasks.wait().await;
            if let Some(pool) = pool {
                // Closing is a courtesy: nothing is lost without it.
                let _ = pool.close().await;
            }
        };
        timeout(within, finished).await.is_ok() && lanes.is_ok()
    }
}

#[cfg(test)]
mod tests;
