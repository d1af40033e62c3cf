//! SQLite's writer: one task, one connection, many units per commit.
//!
//! A commit costs one sync of the disk whatever it holds, so the task takes all
//! units that wait (it never waits for more), runs each inside a savepoint of
//! one transaction, commits once, and only then answers. A unit that refuses or
//! panics is undone alone.
//!
//! When the frame itself fails (begin, savepoint, commit: disk full, file
//! locked) every unit of the batch is answered as unknown and the connection is
//! replaced, since SQLite may have ended the transaction under us.
//!
//! PostgreSQL needs none of this: see [`super::workers`].

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::SqlSettings;
use super::sqlite;
use super::unit::{DatabaseClock, SqlError, Tx, Unit};

/// Units that wait to be written.
pub(super) struct Waiting {
    pub urgent: mpsc::Receiver<Box<dyn Unit>>,
    pub queue: mpsc::Receiver<Box<dyn Unit>>,
}

impl Waiting {
    /// Takes no more; what waits is still handed out.
    fn close(&mut self) {
        self.urgent.close();
        self.queue.close();
    }

    /// Waits for the next batch, the urgent first; `false` when closed and
    /// empty. Loses nothing when it is dropped.
    async fn take(&mut self, batch: &mut Vec<Box<dyn Unit>>, units_max: usize) -> bool {
        tokio::select! {
            biased;
            Some(unit) = self.urgent.recv() => {
                batch.push(unit);
                while batch.len() < units_max
                    && let Ok(unit) = self.queue.try_recv()
                {
                    batch.push(unit);
                }
                true
            }
            taken = self.queue.recv_many(batch, units_max) => taken > 0,
        }
    }
}

pub(super) struct Gatherer {
    /// `None` after a failure, until a connection could be opened again.
    connection: Option<DatabaseConnection>,
    settings: SqlSettings,
    clock: DatabaseClock,
}

impl Gatherer {
    pub(super) fn new(
        connection: DatabaseConnection,
        settings: SqlSettings,
        clock: DatabaseClock,
    ) -> Self {
        Self {
            connection: Some(connection),
            settings,
            clock,
        }
    }

    /// Serves the queue until it is stopped and empty.
    pub(super) async fn run(mut self, mut waiting: Waiting, stop: CancellationToken) {
        let batch_units_max = self.settings.batch_units_max;
        let mut batch = Vec::with_capacity(batch_units_max);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !waiting.queue.is_closed() => waiting.close(),
                taken = waiting.take(&mut batch, batch_units_max) => {
                    if !taken {
                        break;
                    }
                    self.commit(&mut batch).await;
                }
            }
        }
        if let Some(connection) = self.connection {
            // Closing is a courtesy: it only shortens the next start.
            let _ = connection.close().await;
        }
    }

    async fn commit(&mut self, batch: &mut Vec<Box<dyn Unit>>) {
        let committed = self.try_commit(batch).await.map_err(SqlError::from);
        if let Err(error) = &committed {
            tracing::error!(%error, batch.units = batch.len(), "batch of writes failed");
            if let Some(broken) = self.connection.take() {
                let _ = broken.close().await;
            }
        }
        for unit in batch.drain(..) {
            unit.answer(committed.clone());
        }
    }

    async fn try_commit(&mut self, batch: &mut [Box<dyn Unit>]) -> Result<(), DbErr> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => sqlite::open_writer(&self.settings).await?,
        };
        let connection = self.connection.insert(connection);
        let options = TransactionOptions {
            // Else the lock is asked for in the middle, and refused at once.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let together = connection.begin_with_options(options).await?;
        for unit in batch {
            // Nobody gives up waiting for a file: it tells how long it waited.
            unit.begin();
            let kept_ms = self.settings.answers_kept_ms;
            run_one(&together, self.clock.clone(), kept_ms, unit.as_mut()).await?;
        }
        together.commit().await
    }
}

async fn run_one(
    together: &DatabaseTransaction,
    clock: DatabaseClock,
    answers_kept_ms: u64,
    unit: &mut dyn Unit,
) -> Result<(), DbErr> {
    let tx = Tx::new(together.begin().await?, clock, answers_kept_ms, None).await?;
    // A panic is the unit's own, and the panic hook has reported it.
    let keep = AssertUnwindSafe(unit.run(&tx)).catch_unwind().await;
    if keep.unwrap_or(false) {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}
