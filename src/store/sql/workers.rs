//! A server's workers: each has one connection and runs one unit at a time,
//! in a transaction of its own.
//!
//! A unit that met another (deadlock, a row that was not as it was read) is
//! undone and runs again, a limited number of times. So does one whose
//! connection was lost before it committed: nothing of it is left. Only what
//! happened to a COMMIT that got no answer is unknown, and is answered so.
//!
//! Invariants: no future of a caller touches a connection; a connection that was
//! left in the middle of anything is closed, never used again; a unit takes at
//! most its time ([`Group::unit_timeout`]), however silent the server is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::SqlSettings;
use super::failure::Failure;
use super::health::Health;
use super::server::{self, Purpose};
use super::unit::{DatabaseClock, SqlError, Tx, Unit};

/// Connections that one unit may lose.
const LOST_MAX: u32 = 2;
/// Longest pause between attempts.
const PAUSE_MAX_MS: u64 = 250;

/// How long statements are run as they were planned: at the beginning of a sale
/// tables grow from nothing before anyone has counted them, and a plan for ten rows
/// reads them all.
const PLANS_KEPT: Duration = Duration::from_secs(5);

/// Workers that share a queue.
pub(super) struct Group {
    pub queue: Mutex<mpsc::Receiver<Box<dyn Unit>>>,
    pub purpose: Purpose,
    pub unit_timeout: Duration,
    pub settings: SqlSettings,
    pub clock: DatabaseClock,
    pub health: Arc<Health>,
    pub stop: CancellationToken,
}

impl Group {
    /// The next unit; `None` once stopped and empty.
    async fn next(&self) -> Option<Box<dyn Unit>> {
        let mut queue = self.queue.lock().await;
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                queue.recv().await
            }
            unit = queue.recv() => unit,
        }
    }
}

pub(super) struct Worker {
    group: Arc<Group>,
    /// Within the group: those who met pause for different times.
    number: u32,
    /// `None` until one is needed.
    connection: Option<DatabaseConnection>,
    planned: Instant,
}

/// How one attempt at a unit went.
enum Attempt {
    /// It committed, or refused and was undone.
    Over,
    /// It was undone, and may run again.
    Undone(Failure),
    /// It was undone, since a statement took too long.
    Slow,
    /// It was undone with its connection.
    Lost(DbErr),
    /// It may have happened.
    Unknown(SqlError),
}

impl Worker {
    pub(super) fn new(
        group: Arc<Group>,
        number: u32,
        connection: Option<DatabaseConnection>,
    ) -> Self {
        Self {
            group,
            number,
            connection,
            planned: Instant::now(),
        }
    }

    /// Serves the queue until it is stopped and empty.
    pub(super) async fn run(mut self) {
        while let Some(mut unit) = self.group.next().await {
            if unit.begin() {
                let outcome = self.serve(unit.as_mut()).await;
                unit.answer(outcome);
            }
        }
        if let Some(connection) = self.connection.take() {
            // Closing is a courtesy: the server notices anyway.
            let _ = connection.close().await;
        }
    }

    async fn serve(&mut self, unit: &mut dyn Unit) -> Result<(), SqlError> {
        let most = Instant::now() + self.group.unit_timeout;
        let deadline = unit.deadline().map_or(most, |deadline| deadline.min(most));
        let (mut attempts, mut lost) = (0, 0);
        loop {
            let Ok(went) = timeout_at(deadline, self.attempt(unit)).await else {
                self.discard();
                // One that was given less than any unit says nothing of the server.
                if deadline == most {
                    self.group.health.runs_out(self.group.unit_timeout);
                }
                return Err(too_long());
            };
            match went {
                Attempt::Over => {
                    self.group.health.answers();
                    return Ok(());
                }
                Attempt::Slow => {
                    self.group.health.fails();
                    return Err(too_long());
                }
                Attempt::Undone(failure) => {
                    attempts += 1;
                    if attempts >= unit.attempts_max(failure) || !self.may_wait(failure, deadline) {
                        tracing::warn!(attempts, ?failure, "unit of work given up");
                        return match failure {
                            Failure::Conflict | Failure::Locked => Err(SqlError::Contended),
                            // The unit's own answer says what it missed.
                            _ => Ok(()),
                        };
                    }
                    sleep(self.pause(attempts)).await;
                }
                Attempt::Lost(error) => {
                    self.discard();
                    lost += 1;
                    if lost > LOST_MAX {
                        self.group.health.fails();
                        return Err(error.into());
                    }
                }
                Attempt::Unknown(error) => {
                    self.discard();
                    return Err(error);
                }
            }
        }
    }

    /// Whether it could wait for the lock once more: else its time would be over in
    /// the middle, and nobody would know why.
    fn may_wait(&self, failure: Failure, deadline: Instant) -> bool {
        let lock_timeout = Duration::from_millis(self.group.settings.lock_timeout_ms);
        failure != Failure::Locked || Instant::now() + lock_timeout < deadline
    }

    /// Doubles, and is different for workers that met.
    fn pause(&self, attempt: u32) -> Duration {
        let pause_ms = u64::from(1 + self.number % 5) << attempt.min(8);
        Duration::from_millis(pause_ms.min(PAUSE_MAX_MS))
    }

    /// The server undoes what is open on it when it notices the close.
    fn discard(&mut self) {
        drop(self.connection.take());
    }

    async fn attempt(&mut self, unit: &mut dyn Unit) -> Attempt {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => match server::open(&self.group.settings, self.group.purpose).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.group.health.fails();
                    return Attempt::Unknown(error.into());
                }
            },
        };
        let connection = self.connection.insert(connection);
        if self.planned.elapsed() > PLANS_KEPT {
            if let Err(error) = server::plan_anew(connection).await {
                return Attempt::Lost(error);
            }
            self.planned = Instant::now();
        }
        let begun = match connection.begin().await {
            Ok(transaction) => {
                let kept_ms = self.group.settings.answers_kept_ms;
                let health = Some(Arc::clone(&self.group.health));
                Tx::new(transaction, self.group.clock.clone(), kept_ms, health).await
            }
            Err(error) => Err(error),
        };
        let tx = match begun {
            Ok(tx) => tx,
            Err(error) => return Attempt::Lost(error),
        };
        // A panic is the unit's own, and the panic hook has reported it.
        let keep = AssertUnwindSafe(unit.run(&tx)).catch_unwind().await;
        match (keep.unwrap_or(false), tx.failure()) {
            (true, None) if self.group.purpose.writes() => commit(tx).await,
            (_, Some(Failure::Lost)) => {
                Attempt::Lost(DbErr::Custom("the connection was lost".to_owned()))
            }
            // Another connection may find who writes now.
            (_, Some(Failure::ReadOnly)) if self.group.purpose.writes() => {
                Attempt::Lost(DbErr::Custom("the server takes no writes".to_owned()))
            }
            (keep, failure) => match tx.rollback().await {
                Err(error) => Attempt::Lost(error),
                Ok(()) => undone(keep, failure),
            },
        }
    }
}

fn too_long() -> SqlError {
    SqlError::Unavailable("the database took too long".to_owned())
}

fn undone(keep: bool, failure: Option<Failure>) -> Attempt {
    match failure {
        Some(failure @ (Failure::Conflict | Failure::Locked | Failure::Missed)) => {
            Attempt::Undone(failure)
        }
        Some(Failure::Slow) => Attempt::Slow,
        // It went on after a statement had failed.
        Some(_) if keep => {
            let text = "a statement failed unnoticed".to_owned();
            Attempt::Unknown(SqlError::Unavailable(text))
        }
        _ => Attempt::Over,
    }
}

async fn commit(tx: Tx) -> Attempt {
    let Err(error) = tx.commit().await else {
        return Attempt::Over;
    };
    match Failure::of(&error) {
        failure @ (Failure::Conflict | Failure::Locked | Failure::Missed) => {
            Attempt::Undone(failure)
        }
        Failure::Lost | Failure::ReadOnly | Failure::Slow | Failure::Refused => {
            Attempt::Unknown(error.into())
        }
    }
}
