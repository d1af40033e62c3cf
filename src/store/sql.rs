//! The SQL store: rooms, catalog, holds, money and the outbox, through SeaORM.
//!
//! Mechanism: all SQL runs on a runtime of its own. A caller hands over a unit
//! of work and waits for its answer; whether it waits to the end makes no
//! difference to the unit (see [`unit`]). Reads take a snapshot from a small
//! pool. Writes are queued to whoever may write: for SQLite one task with one
//! connection, which commits all units that wait together (see [`gather`]).
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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

pub mod columns;
mod deferred;
mod entity;
mod gather;
pub mod idempotency;
mod leases;
pub mod outbox;
pub mod query;
pub mod rooms;
mod runtime;
mod sales;
mod sqlite;
pub mod unit;

pub use unit::{SqlError, Tx, Work};

use gather::{Gatherer, Waiting};
use runtime::SqlRuntime;
use unit::{Pending, Unit};

/// How a [`SqlStore`] is opened.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// `sqlite://path/to/file.db`
    pub url: String,
    pub read_connections: u32,
    /// Reads that wait or run at once.
    pub read_waiting_max: usize,
    /// Units that wait to be written.
    pub write_queue_max: usize,
    /// Units that wait ahead of all others; see [`SqlStore::write_urgent`].
    pub urgent_queue_max: usize,
    /// Units committed together at most.
    pub batch_units_max: usize,
    /// How long to wait for another process's lock on the file.
    pub busy_timeout_ms: u64,
}

impl SqlSettings {
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            read_connections: 4,
            read_waiting_max: 4_096,
            write_queue_max: 4_096,
            urgent_queue_max: 16,
            batch_units_max: 256,
            busy_timeout_ms: 5_000,
        }
    }
}

/// One opened database. Shared by `Arc`; dropping it abandons what still runs,
/// [`SqlStore::shutdown`] does not.
pub struct SqlStore {
    runtime: SqlRuntime,
    tasks: TaskTracker,
    stop: CancellationToken,
    readers: DatabaseConnection,
    read_permits: Arc<Semaphore>,
    write_queue: mpsc::Sender<Box<dyn Unit>>,
    urgent_queue: mpsc::Sender<Box<dyn Unit>>,
    settings: SqlSettings,
    clock: Arc<dyn Clock>,
}

impl SqlStore {
    /// Opens with the default [`SqlSettings`]. `clock` is the database's clock
    /// for SQLite, which has none of its own.
    ///
    /// # Errors
    /// See [`SqlStore::connect_with`].
    pub async fn connect(url: &str, clock: Arc<dyn Clock>) -> Result<Self, SqlError> {
        Self::connect_with(SqlSettings::new(url), clock).await
    }

    /// # Errors
    /// [`SqlError::Unsupported`] for a URL no adapter reads,
    /// [`SqlError::Unavailable`] when the database cannot be opened.
    pub async fn connect_with(
        settings: SqlSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SqlError> {
        sqlite::check_url(&settings.url)?;
        let runtime = SqlRuntime::start()?;
        let opening = settings.clone();
        let opened = runtime.handle().spawn(async move {
            // The writer first: it creates the file and turns on its journal.
            let writer = sqlite::open_writer(&opening).await?;
            let readers = sqlite::open_readers(&opening).await?;
            Ok::<_, DbErr>((writer, readers))
        });
        let (writer, readers) = match opened.await {
            Ok(opened) => opened?,
            Err(_) => return Err(SqlError::Panicked),
        };

        let (write_queue, queue) = mpsc::channel(settings.write_queue_max);
        let (urgent_queue, urgent) = mpsc::channel(settings.urgent_queue_max);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let gatherer = Gatherer::new(writer, settings.clone(), Arc::clone(&clock));
        let waiting = Waiting { urgent, queue };
        tasks.spawn_on(gatherer.run(waiting, stop.clone()), runtime.handle());
        Ok(Self {
            runtime,
            tasks,
            stop,
            readers,
            read_permits: Arc::new(Semaphore::new(settings.read_waiting_max)),
            write_queue,
            urgent_queue,
            settings,
            clock,
        })
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
        write_by(&self.write_queue, input, work).await
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
        write_by(&self.urgent_queue, input, work).await
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
        let Ok(permit) = Arc::clone(&self.read_permits).try_acquire_owned() else {
            return Err(SqlError::Overloaded.into());
        };
        let readers = self.readers.clone();
        let clock = Arc::clone(&self.clock);
        let reading = async move {
            let _permit = permit;
            let snapshot = readers.begin().await.map_err(SqlError::from)?;
            let tx = Tx::new(snapshot, clock.now());
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

    /// Applies all pending migrations.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`] with what the database said.
    pub async fn migrate_up(&self) -> Result<(), SqlError> {
        self.with_schema(|db| async move { Migrator::up(&db, None).await })
            .await
    }

    /// Takes back the last `steps` migrations, with their data.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`] with what the database said.
    pub async fn migrate_down(&self, steps: u32) -> Result<(), SqlError> {
        self.with_schema(move |db| async move { Migrator::down(&db, Some(steps)).await })
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
        let settings = self.settings.clone();
        let migrating = async move {
            let db = sqlite::open_writer(&settings).await?;
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
        self.read_permits.close();
        self.stop.cancel();
        self.tasks.close();
        let readers = self.readers.clone();
        let finished = async {
            self.tasks.wait().await;
            // Closing is a courtesy: nothing is lost without it.
            let _ = readers.close().await;
        };
        tokio::time::timeout(within, finished).await.is_ok()
    }
}

async fn write_by<I, T, E, W>(
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
    let (reply, answer) = oneshot::channel();
    let unit = Box::new(Pending::new(input, work, reply));
    queue.try_send(unit).map_err(|refused| match refused {
        mpsc::error::TrySendError::Full(_) => SqlError::Overloaded,
        mpsc::error::TrySendError::Closed(_) => SqlError::Stopped,
    })?;
    // Nobody answers only if the runtime was torn down under the unit.
    answer
        .await
        .unwrap_or_else(|_| Err(SqlError::Stopped.into()))
}

#[cfg(test)]
mod tests;
