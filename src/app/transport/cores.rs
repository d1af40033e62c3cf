//! The threads that serve connections: one runtime each, and a connection stays
//! on the one it was given to.
//!
//! Whatever a connection's streams do then wakes nobody else, and what they
//! write in one round leaves in one write. Work that is not a connection's (the
//! engine, the stores) has the runtime of the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// One runtime, and how many connections it has.
pub(super) struct Core {
    runtime: Handle,
    connections: AtomicUsize,
}

/// Where connections are served. Dropping it ends the threads.
pub struct Cores {
    cores: Box<[Arc<Core>]>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Cores {
    /// The runtime that calls this, for everything.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cores: [Core::of(Handle::current())].into(),
            stop: CancellationToken::new(),
            threads: Vec::new(),
        }
    }

    /// So many threads; 0: one for each processor that this process may use.
    ///
    /// # Errors
    /// The system has no thread or no poller to give.
    pub fn start(count: usize) -> io::Result<Self> {
        let count = match count {
            0 => thread::available_parallelism()?.get(),
            count => count,
        };
        let stop = CancellationToken::new();
        // Those that have started end if another cannot.
        let unless_all = stop.clone().drop_guard();
        let (mut cores, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            cores.push(Core::of(runtime.handle().clone()));
            let stopped = stop.clone();
            let thread = thread::Builder::new().name(format!("usher-core-{index}"));
            threads.push(thread.spawn(move || {
                runtime.block_on(stopped.cancelled());
                // What is left was given its time.
                runtime.shutdown_background();
            })?);
        }
        unless_all.disarm();
        Ok(Self {
            cores: cores.into(),
            stop,
            threads,
        })
    }

    /// The core with the fewest connections has one more, until the seat is
    /// dropped.
    pub(super) fn take_seat(&self) -> CoreSeat {
        let busy = |core: &&Arc<Core>| core.connections.load(Ordering::Relaxed);
        let core = self.cores.iter().min_by_key(busy);
        let core = Arc::clone(core.unwrap_or_else(|| unreachable!("there is at least one core")));
        core.connections.fetch_add(1, Ordering::Relaxed);
        CoreSeat(core)
    }
}

impl Core {
    fn of(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            connections: AtomicUsize::new(0),
        })
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a core has panicked");
            }
        }
    }
}

/// A connection's place on a core.
pub(super) struct CoreSeat(Arc<Core>);

impl CoreSeat {
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}

impl Drop for CoreSeat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let cores = Cores::start(3).expect("started");
        let seats: Vec<_> = (0..6).map(|_| cores.take_seat()).collect();
        let taken = |core: &Arc<Core>| core.connections.load(Ordering::Relaxed);
        assert_eq!(cores.cores.iter().map(taken).collect::<Vec<_>>(), [2, 2, 2]);
        let freed = Arc::clone(&seats[4].0);
        drop(seats);
        assert_eq!(taken(&freed), 0);
    }

    #[test]
    fn what_is_spawned_runs_on_the_thread_of_its_core() {
        let cores = Cores::start(2).expect("started");
        let seats = [cores.take_seat(), cores.take_seat()];
        let names = seats.map(|seat| {
            let (tell, told) = std::sync::mpsc::sync_channel(1);
            seat.runtime().spawn(async move {
                let name = thread::current().name().map(str::to_owned);
                tell.send(name).expect("awaited");
            });
            told.recv().expect("told").expect("named")
        });
        assert_eq!(names, ["usher-core-0", "usher-core-1"]);
        drop(cores);
    }
}
