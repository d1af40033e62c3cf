//! Lanes: holds and payments that wait go as one unit of work.
//!
//! Each lane has some of the performances, by their ids, and runs one batch at a
//! time: what comes meanwhile waits and is the next one. So two batches of a node
//! never want the same performance, and the busier a lane is, the larger its
//! batches and the cheaper each command. On PostgreSQL a lane has a connection
//! of its own; SQLite has one writer, hence one lane.
//!
//! A payment names a reservation only. [`routes`] remembers whose lane held it;
//! one that is not known goes by its own id.
//!
//! No lane waits for a performance that somebody else has locked: what is about
//! it goes aside and waits there ([`sides`]).
//!
//! Money for wallets and coupons are gathered likewise, beside the lanes, one batch of
//! each at a time ([`beside`]).
//!
//! Invariants: a command is answered when its transaction has ended, each with
//! an outcome of its own; one that cannot be done spoils nobody ([`batch`]).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::coupons::Issues;
use super::hold::Holds;
use super::pay::Payments;
use super::wallet::TopUps;
use crate::domain::ids::ResourceId;
use crate::domain::sale::ledger::WalletEntry;
use crate::store::sales::{
    Deposit, Held, HoldSeats, IssueCoupon, Issued, Paid, PayReservation, SalesError,
};
use crate::store::sql::list::Others;
use crate::store::sql::opening::Queues;
use crate::store::sql::runtime::SqlRuntime;
use crate::store::sql::unit::Unit;
use crate::store::sql::{Pool, SqlSettings, SqlStore};

mod batch;
mod beside;
mod locking;
mod routes;
mod sides;

use batch::Waiting;
pub use batch::{Kind, Outcomes};
pub use locking::{Wanted, lock};
use routes::Routes;
use sides::{Exits, SideLimits, Sides};

pub struct Lanes {
    lanes: Vec<Lane>,
    top_ups: mpsc::Sender<Waiting<TopUps>>,
    coupons: mpsc::Sender<Waiting<Issues>>,
    routes: Routes,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where the commands of a lane wait.
struct Lane {
    holds: mpsc::Sender<Waiting<Holds>>,
    payments: mpsc::Sender<Waiting<Payments>>,
}

impl Lanes {
    /// One for each queue of batches.
    pub fn start(runtime: &SqlRuntime, queues: &Queues, settings: &SqlSettings) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let unit_timeout = Duration::from_millis(settings.unit_timeout_ms);
        let exits = Exits {
            units: queues.aside.clone(),
            permits: Arc::new(Semaphore::new(queues.checkout.len())),
            tasks: tasks.clone(),
        };
        let side_limits = SideLimits {
            waiting_max: settings.write_queue_max,
            gather_max: settings.gather_max,
            within: unit_timeout,
        };
        let side_holds = Sides::new(exits.clone(), side_limits);
        let side_payments = Sides::new(exits, side_limits);
        let limits = Limits {
            batch_timeout: queues.health.as_ref().map(|_| unit_timeout),
            gather_max: settings.gather_max,
            gather_delay: Duration::from_millis(settings.gather_delay_ms),
            stop: stop.clone(),
        };
        let (top_ups, waiting) = mpsc::channel(settings.write_queue_max);
        let serve = beside::serve(waiting, queues.write.clone(), limits.clone());
        tasks.spawn_on(serve, runtime.handle());
        let (coupons, waiting) = mpsc::channel(settings.write_queue_max);
        let serve = beside::serve(waiting, queues.write.clone(), limits.clone());
        tasks.spawn_on(serve, runtime.handle());
        let start = |units: &mpsc::Sender<Box<dyn Unit>>| {
            let (holds, waiting_holds) = mpsc::channel(settings.write_queue_max);
            let (payments, waiting_payments) = mpsc::channel(settings.write_queue_max);
            let worker = Worker {
                holds: waiting_holds,
                payments: waiting_payments,
                side_holds: side_holds.clone(),
                side_payments: side_payments.clone(),
                units: units.clone(),
                limits: limits.clone(),
            };
            tasks.spawn_on(worker.run(), runtime.handle());
            Lane { holds, payments }
        };
        Self {
            lanes: queues.checkout.iter().map(start).collect(),
            top_ups,
            coupons,
            routes: Routes::default(),
            tasks,
            stop,
        }
    }

    /// Takes no more, and finishes what waits.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn number_of(&self, id: &ResourceId) -> usize {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let lanes = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX);
        usize::try_from(hasher.finish() % lanes.max(1)).unwrap_or_default()
    }
}

impl SqlStore {
    pub(super) async fn hold(&self, command: HoldSeats) -> Result<Held, SalesError> {
        let number = self.lanes.number_of(&command.performance);
        let lane = &self.lanes.lanes[number].holds;
        let held = self.gathered(Pool::Checkout, lane, command).await?;
        self.lanes.routes.remember(&held.reservation.id, number);
        Ok(held)
    }

    pub(super) async fn pay(&self, command: PayReservation) -> Result<Paid, SalesError> {
        let known = self.lanes.routes.lane_of(&command.reservation);
        let number = known.unwrap_or_else(|| self.lanes.number_of(&command.reservation));
        let lane = &self.lanes.lanes[number].payments;
        self.gathered(Pool::Checkout, lane, command).await
    }

    pub(super) async fn put_in(&self, deposit: Deposit) -> Result<WalletEntry, SalesError> {
        let queue = &self.lanes.top_ups;
        self.gathered(Pool::Writes, queue, deposit).await
    }

    pub(super) async fn issue(&self, command: IssueCoupon) -> Result<Issued, SalesError> {
        let queue = &self.lanes.coupons;
        self.gathered(Pool::Writes, queue, command).await
    }

    async fn gathered<K: Kind>(
        &self,
        pool: Pool,
        lane: &mpsc::Sender<Waiting<K>>,
        command: K::Command,
    ) -> Result<K::Answer, SalesError> {
        self.admit()?;
        self.wait_in(pool, lane, |turn, reply| Waiting::new(command, turn, reply))
            .await
    }
}

/// Serves one lane.
struct Worker {
    holds: mpsc::Receiver<Waiting<Holds>>,
    payments: mpsc::Receiver<Waiting<Payments>>,
    side_holds: Sides<Holds>,
    side_payments: Sides<Payments>,
    units: mpsc::Sender<Box<dyn Unit>>,
    limits: Limits,
}

/// Of one batch.
#[derive(Clone)]
struct Limits {
    /// With all that it is split into; `None` on SQLite, which nobody waits for.
    batch_timeout: Option<Duration>,
    gather_max: usize,
    gather_delay: Duration,
    /// Nobody waits for more.
    stop: CancellationToken,
}

impl Worker {
    /// Until it is stopped and nothing waits. Of holds and payments that both
    /// wait, chance takes one: neither keeps the other waiting for ever.
    async fn run(mut self) {
        loop {
            let serves = !self.holds.is_closed();
            tokio::select! {
                () = self.limits.stop.cancelled(), if serves => {
                    self.holds.close();
                    self.payments.close();
                }
                Some(first) = self.payments.recv() => {
                    let all = gather(first, &mut self.payments, &self.limits).await;
                    self.serve(all, &self.side_payments).await;
                }
                Some(first) = self.holds.recv() => {
                    let all = gather(first, &mut self.holds, &self.limits).await;
                    self.serve(all, &self.side_holds).await;
                }
                else => break,
            }
        }
    }

    async fn serve<K: Kind>(&self, all: Vec<Waiting<K>>, sides: &Sides<K>) {
        let all = sides.pass(all);
        if !all.is_empty() {
            let within = self.limits.batch_timeout;
            sides.add(batch::run(&self.units, all, Others::Skip, within).await);
        }
    }
}

/// What waits behind the first, or comes in time.
async fn gather<T>(first: T, queue: &mut mpsc::Receiver<T>, limits: &Limits) -> Vec<T> {
    let mut all = vec![first];
    while all.len() < limits.gather_max
        && let Ok(next) = queue.try_recv()
    {
        all.push(next);
    }
    if !limits.gather_delay.is_zero() {
        let more = async {
            while all.len() < limits.gather_max
                && let Some(next) = queue.recv().await
            {
                all.push(next);
            }
        };
        tokio::select! {
            () = limits.stop.cancelled() => {}
            // Being out of time is the usual end.
            _ = timeout(limits.gather_delay, more) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests;
