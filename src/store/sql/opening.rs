//! Opening a database: its connections, and the tasks that serve its queues.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gather::{Gatherer, Waiting};
use super::health::Health;
use super::runtime::SqlRuntime;
use super::server::{self, Purpose};
use super::unit::{DatabaseClock, SqlError, Unit};
use super::workers::{Group, Worker};
use super::{SqlSettings, sqlite};

/// A lease that is not renewed by then is renewed by a later unit: a probe of
/// the database has an answer before it gives up.
const URGENT_TIMEOUT_MS: u64 = 1_200;
/// What the first connection may take at least.
const FIRST_CONNECT_MS: u64 = 10_000;

/// Where units wait for those who write.
pub(super) struct Queues {
    pub write: mpsc::Sender<Box<dyn Unit>>,
    pub urgent: mpsc::Sender<Box<dyn Unit>>,
    /// Where each lane's batches go: on a server each to a connection of its
    /// own.
    pub checkout: Vec<mpsc::Sender<Box<dyn Unit>>>,
    /// Batches that wait for somebody's lock, on as many connections.
    pub aside: mpsc::Sender<Box<dyn Unit>>,
    pub background: mpsc::Sender<Box<dyn Unit>>,
    pub readers: Readers,
    /// Of a server; a file is there or is not.
    pub health: Option<Arc<Health>>,
}

pub(super) enum Readers {
    /// A pool that each read borrows from.
    Pool {
        connections: DatabaseConnection,
        permits: Arc<Semaphore>,
    },
    Workers(mpsc::Sender<Box<dyn Unit>>),
}

/// What the tasks of a store run on and stop with.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub runtime: &'a SqlRuntime,
    pub tasks: &'a TaskTracker,
    pub stop: &'a CancellationToken,
}

impl Home<'_> {
    /// Runs what opens connections: they live on the runtime that made them.
    async fn open<T: Send + 'static>(
        &self,
        opening: impl Future<Output = Result<T, DbErr>> + Send + 'static,
    ) -> Result<T, SqlError> {
        match self.runtime.handle().spawn(opening).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(SqlError::Panicked),
        }
    }
}

/// One writer that gathers, and a pool of readers.
pub(super) async fn sqlite(
    home: Home<'_>,
    settings: &SqlSettings,
    clock: DatabaseClock,
) -> Result<Queues, SqlError> {
    if matches!(clock, DatabaseClock::Server) {
        return Err(SqlError::Unsupported("SQLite has no clock of its own"));
    }
    let opening = settings.clone();
    let connections = home.open(async move {
        // The writer first: it creates the file and turns on its journal.
        let writer = sqlite::open_writer(&opening).await?;
        Ok((writer, sqlite::open_readers(&opening).await?))
    });
    let (writer, connections) = connections.await?;
    let (write, queue) = mpsc::channel(settings.write_queue_max);
    let (urgent, urgent_queue) = mpsc::channel(settings.urgent_queue_max);
    let gatherer = Gatherer::new(writer, settings.clone(), clock);
    let waiting = Waiting {
        urgent: urgent_queue,
        queue,
    };
    home.tasks.spawn_on(
        gatherer.run(waiting, home.stop.clone()),
        home.runtime.handle(),
    );
    Ok(Queues {
        checkout: vec![write.clone()],
        aside: write.clone(),
        background: write.clone(),
        write,
        urgent,
        readers: Readers::Pool {
            connections,
            permits: Arc::new(Semaphore::new(settings.read_waiting_max)),
        },
        health: None,
    })
}

/// Groups of workers: urgent, writing, for what nobody waits for, reading, one for
/// each lane, and for those who wait beside the lanes.
pub(super) async fn server(
    home: Home<'_>,
    settings: &SqlSettings,
    clock: DatabaseClock,
) -> Result<Queues, SqlError> {
    // One that is tried now: a wrong URL ends the start. Nobody is served yet, so
    // a server that is busy, or itself about to start, is waited for.
    let connect_timeout_ms = settings.connect_timeout_ms.max(FIRST_CONNECT_MS);
    let opening = SqlSettings {
        connect_timeout_ms,
        ..settings.clone()
    };
    let first = async move {
        let first = server::open(&opening, Purpose::Write).await?;
        if let Some(warning) = server::what_may_be_lost(&first).await? {
            tracing::warn!("{warning}");
        }
        Ok(first)
    };
    let mut first = Some(home.open(first).await?);
    let health = Arc::new(Health::new());
    let mut start = |purpose, workers: u32, queue_max: usize, timeout_ms: u64| {
        let (sender, queue) = mpsc::channel(queue_max);
        let group = Arc::new(Group {
            queue: Mutex::new(queue),
            purpose,
            unit_timeout: Duration::from_millis(timeout_ms),
            settings: settings.clone(),
            clock: clock.clone(),
            health: Arc::clone(&health),
            stop: home.stop.clone(),
        });
        for number in 0..workers {
            let connection = first.take().filter(|_| purpose == Purpose::Write);
            let worker = Worker::new(Arc::clone(&group), number, connection);
            home.tasks.spawn_on(worker.run(), home.runtime.handle());
        }
        sender
    };
    let unit_ms = settings.unit_timeout_ms;
    let urgent_ms = unit_ms.min(URGENT_TIMEOUT_MS);
    let urgent = start(Purpose::Write, 1, settings.urgent_queue_max, urgent_ms);
    let writers = settings.write_connections;
    let write = start(Purpose::Write, writers, settings.write_queue_max, unit_ms);
    let lanes = 0..settings.checkout_connections;
    let checkout = lanes
        .map(|_| start(Purpose::Checkout, 1, 1, unit_ms))
        .collect();
    let lanes = settings.checkout_connections;
    let queue_max = usize::try_from(lanes).unwrap_or(usize::MAX);
    let aside = start(Purpose::Checkout, lanes, queue_max, unit_ms);
    let (cleaners, queue_max) = (settings.background_connections, settings.write_queue_max);
    let background = start(Purpose::Write, cleaners, queue_max, unit_ms);
    let readers = settings.read_connections;
    let reads = start(Purpose::Read, readers, settings.read_waiting_max, unit_ms);
    Ok(Queues {
        write,
        urgent,
        checkout,
        aside,
        background,
        readers: Readers::Workers(reads),
        health: Some(health),
    })
}
