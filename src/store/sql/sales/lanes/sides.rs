//! Beside the lanes: commands of performances that somebody else has locked.
//!
//! Each such performance gets a queue of its own, and a connection while it waits
//! for the lock, of a few that are there for that. So others never wait with it;
//! two nodes that sell the same performance take turns by the database's own queue
//! of waiters; and what comes meanwhile is gathered as in a lane. When nobody is left
//! the performance is its lane's again. A pass or a coupon that is locked is asked for
//! again after a pause, without keeping the performance meanwhile.
//!
//! Invariants: at most `waiting_max` commands; whoever waited as long as a unit may
//! take is told that too many want the same, and nothing was done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use super::batch::{self, Aside, Kind, Waiting};
use crate::domain::ids::ResourceId;
use crate::store::sales::SalesError;
use crate::store::sql::list::Others;
use crate::store::sql::unit::Unit;

/// Before a pass or a coupon that is locked is asked for again; doubles.
const PAUSE_MS: u64 = 5;
const PAUSE_MAX_MS: u64 = 160;

/// Where those who wait get their connections.
#[derive(Clone)]
pub struct Exits {
    pub units: mpsc::Sender<Box<dyn Unit>>,
    /// As many as there are connections: a unit that was sent runs at once.
    pub permits: Arc<Semaphore>,
    pub tasks: TaskTracker,
}

#[derive(Clone, Copy)]
pub struct SideLimits {
    pub waiting_max: usize,
    pub gather_max: usize,
    /// Of a command until its batch begins, and of the batch.
    pub within: Duration,
}

pub struct Sides<K: Kind>(Arc<Shared<K>>);

impl<K: Kind> Clone for Sides<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<K: Kind> {
    queues: Mutex<Queues<K>>,
    exits: Exits,
    limits: SideLimits,
}

struct Queues<K: Kind> {
    /// Of each performance that has a task ([`serve`]).
    of: BTreeMap<ResourceId, VecDeque<Waiting<K>>>,
    waiting: usize,
}

impl<K: Kind> Sides<K> {
    pub fn new(exits: Exits, limits: SideLimits) -> Self {
        let queues = Queues {
            of: BTreeMap::new(),
            waiting: 0,
        };
        Self(Arc::new(Shared {
            queues: Mutex::new(queues),
            exits,
            limits,
        }))
    }

    /// Of these, those whose performance has no queue here; takes the others.
    pub fn pass(&self, members: Vec<Waiting<K>>) -> Vec<Waiting<K>> {
        let mut queues = self.0.queues();
        if queues.of.is_empty() {
            return members;
        }
        let mut passed = Vec::with_capacity(members.len());
        for member in members {
            match K::performance(&member.command) {
                Some(performance) if queues.of.contains_key(performance) => {
                    let performance = performance.clone();
                    // Who gave up was told so.
                    if member.begin() {
                        self.0.put(&mut queues, performance, member);
                    }
                }
                _ => passed.push(member),
            }
        }
        passed
    }

    /// Lets them wait; each gets its answer.
    pub fn add(&self, aside: Vec<Aside<K>>) {
        if aside.is_empty() {
            return;
        }
        let mut queues = self.0.queues();
        for (performance, member) in aside {
            let is_new = !queues.of.contains_key(&performance);
            if self.0.put(&mut queues, performance.clone(), member) && is_new {
                let serving = serve(Arc::clone(&self.0), performance);
                self.0.exits.tasks.spawn(serving);
            }
        }
    }
}

impl<K: Kind> Shared<K> {
    fn queues(&self) -> MutexGuard<'_, Queues<K>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for it.
    fn put(&self, queues: &mut Queues<K>, performance: ResourceId, mut member: Waiting<K>) -> bool {
        if queues.waiting >= self.limits.waiting_max {
            member.answer(Err(SalesError::Overloaded));
            return false;
        }
        member
            .until
            .get_or_insert_with(|| Instant::now() + self.limits.within);
        queues.waiting += 1;
        queues.of.entry(performance).or_default().push_back(member);
        true
    }

    /// The next batch of a performance, at most `gather_max`; `None` if nobody waits
    /// any more, and its queue is gone. Who waited in vain is told so.
    fn next(&self, performance: &ResourceId, gather_max: usize) -> Option<Vec<Waiting<K>>> {
        let mut queues = self.queues();
        let queue = queues.of.get_mut(performance)?;
        let now = Instant::now();
        let is_late = |member: &Waiting<K>| member.until.is_some_and(|until| until <= now);
        let (late, mut left): (VecDeque<_>, VecDeque<_>) = queue.drain(..).partition(is_late);
        let members: Vec<_> = left.drain(..gather_max.min(left.len())).collect();
        let is_over = members.is_empty() && left.is_empty();
        *queue = left;
        if is_over {
            queues.of.remove(performance);
        }
        queues.waiting -= late.len() + members.len();
        drop(queues);
        batch::refuse(late);
        (!is_over).then_some(members)
    }

    /// When the first of them has waited long enough.
    fn first_until(&self, performance: &ResourceId) -> Instant {
        let queues = self.queues();
        let queue = queues.of.get(performance);
        let first = queue.and_then(|queue| queue.iter().filter_map(|one| one.until).min());
        first.unwrap_or_else(Instant::now)
    }
}

/// Until nobody waits for this performance.
async fn serve<K: Kind>(shared: Arc<Shared<K>>, performance: ResourceId) {
    let mut pause_ms = PAUSE_MS;
    loop {
        let until = shared.first_until(&performance);
        let permit = timeout_at(until, shared.exits.permits.acquire()).await;
        // Without one nobody goes on, but who waited in vain hears of it.
        let gather_max = permit.as_ref().map_or(0, |_| shared.limits.gather_max);
        let Some(members) = shared.next(&performance, gather_max) else {
            return;
        };
        if members.is_empty() {
            continue;
        }
        let (units, within) = (&shared.exits.units, shared.limits.within);
        let aside = batch::run(units, members, Others::Await, Some(within)).await;
        drop(permit);
        if aside.is_empty() {
            pause_ms = PAUSE_MS;
            continue;
        }
        {
            let mut queues = shared.queues();
            for (_, member) in aside {
                shared.put(&mut queues, performance.clone(), member);
            }
        }
        sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (2 * pause_ms).min(PAUSE_MAX_MS);
    }
}
