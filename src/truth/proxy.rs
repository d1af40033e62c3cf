//! A TCP proxy that spoils the network between two processes, on command.
//!
//! It listens on a port of its own and forwards to one target. Each direction
//! of each connection is a reader and a writer with a bounded queue between
//! them; a chunk carries the time at which it is due, so a delay is latency and
//! not a limit on throughput. Commands change a shared [`Settings`] that every
//! connection reads for each chunk, so they work on live connections.
//!
//! Invariants: bytes of one direction are never reordered; a direction that
//! dropped a byte never forwards one again (a gap inside a TCP stream does not
//! exist in nature); a connection buffers at most `QUEUE_CHUNKS` chunks of
//! `CHUNK_BYTES_MAX` each way.

mod connection;
mod pattern;
mod pump;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use pattern::Armed;
pub use pattern::{Effect, PATTERN_BYTES_MAX, PatternTooLong, Rule, When};

/// Bytes read at once.
pub const CHUNK_BYTES_MAX: usize = 16 * 1024;
/// Chunks on their way in one direction of one connection.
pub const QUEUE_CHUNKS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

/// What happens to bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    #[default]
    Pass,
    /// Nothing is read until it passes again: a partition that heals.
    Stall,
    /// Bytes vanish, and with them the rest of that direction of the
    /// connections they were on: a partition that does not heal.
    Drop,
}

/// One direction's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    pub delay_ms: u64,
    /// Added to `delay_ms`: 0 to this much, from the proxy's seed.
    pub jitter_ms: u64,
    /// 0: no limit.
    pub bytes_per_s: u64,
    pub flow: Flow,
}

#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    links: [Link; 2],
    /// Both directions of this client's connections are stalled.
    shut_out: Option<IpAddr>,
    /// New connections are reset at once.
    refuse: bool,
    /// Raised by each cut; a connection ends when it changes.
    cuts: u64,
    /// Raised by each [`Proxy::let_go`]; what is held goes on when it changes.
    let_go: u64,
}

impl Settings {
    fn flow(&self, direction: Direction, client: IpAddr) -> Flow {
        match self.shut_out == Some(client) {
            true => Flow::Stall,
            false => self.links[direction.index()].flow,
        }
    }
}

/// What a proxy did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub accepted: u64,
    pub refused: u64,
    /// Connections that are over.
    pub ended: u64,
    /// Rules that fired.
    pub matched: u64,
    /// By direction: up, down.
    pub forwarded_bytes: [u64; 2],
    pub dropped_bytes: [u64; 2],
}

impl Progress {
    #[must_use]
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.forwarded_bytes[direction.index()]
    }

    #[must_use]
    pub fn dropped(&self, direction: Direction) -> u64 {
        self.dropped_bytes[direction.index()]
    }
}

struct Shared {
    settings: watch::Sender<Settings>,
    progress: watch::Sender<Progress>,
    /// Armed rules; one that fires is taken out.
    rules: Mutex<Vec<Armed>>,
    seed: u64,
}

/// A running proxy. Dropping it resets its connections and stops listening.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `target`. The seed
    /// decides the jitter.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            settings: watch::Sender::new(Settings::default()),
            progress: watch::Sender::new(Progress::default()),
            rules: Mutex::new(Vec::new()),
            seed,
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(
            listener,
            target,
            shared.clone(),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Self {
            addr,
            shared,
            stop,
            tasks,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets one direction's conditions, for live connections too.
    pub fn set_link(&self, direction: Direction, link: Link) {
        self.shared
            .settings
            .send_modify(|settings| settings.links[direction.index()] = link);
    }

    /// Sets both directions' conditions.
    pub fn set_links(&self, link: Link) {
        self.shared
            .settings
            .send_modify(|settings| settings.links = [link; 2]);
    }

    /// Stalls both directions of every connection from this address, and of
    /// no other: a partition between some of those who come here.
    pub fn shut_out(&self, client: Option<IpAddr>) {
        self.shared
            .settings
            .send_modify(|settings| settings.shut_out = client);
    }

    /// Resets new connections at once, or accepts them again. The port stays
    /// bound, so nothing else can take it meanwhile.
    pub fn refuse(&self, refuse: bool) {
        self.shared
            .settings
            .send_modify(|settings| settings.refuse = refuse);
    }

    /// Resets every connection (RST to both sides).
    pub fn cut(&self) {
        self.shared
            .settings
            .send_modify(|settings| settings.cuts += 1);
    }

    /// Arms a rule: it fires once, on the first connection that shows its pattern.
    ///
    /// # Errors
    /// [`PatternTooLong`] beyond `PATTERN_BYTES_MAX`, or for an empty pattern.
    pub fn on_match(&self, rule: Rule) -> Result<(), PatternTooLong> {
        rule.check()?;
        self.shared.lock_rules().push(Armed::one(rule));
        Ok(())
    }

    /// Arms the first of these rules; each that fires arms the next, for its own
    /// connection and what comes there later.
    ///
    /// # Errors
    /// As [`Proxy::on_match`], for any of them.
    pub fn on_sequence(&self, rules: Vec<Rule>) -> Result<(), PatternTooLong> {
        rules.iter().try_for_each(Rule::check)?;
        self.shared.lock_rules().extend(Armed::sequence(rules));
        Ok(())
    }

    /// Lets all that is held go on.
    pub fn let_go(&self) {
        self.shared
            .settings
            .send_modify(|settings| settings.let_go += 1);
    }

    /// Disarms all rules.
    pub fn forget_matches(&self) {
        self.shared.lock_rules().clear();
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.shared.progress.borrow()
    }

    /// Waits until the progress is as asked.
    pub async fn until(&self, is_so: impl FnMut(&Progress) -> bool) {
        let mut progress = self.shared.progress.subscribe();
        // The sender lives in `self`: the channel cannot close meanwhile.
        let _ = progress.wait_for(is_so).await;
    }

    /// Stops listening, resets every connection and waits for their ends.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    fn lock_rules(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        // A list of rules is whole after any panic.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(Ok((client, peer))) = stop.run_until_cancelled(listener.accept()).await {
        if shared.settings.borrow().refuse {
            reset(&client);
            shared.count(|progress| progress.refused += 1);
            continue;
        }
        let mut id = 0;
        shared.count(|progress| {
            progress.accepted += 1;
            id = progress.accepted;
        });
        let shared = shared.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            let ends = connection::Ends {
                client: peer.ip(),
                target,
            };
            connection::serve(client, ends, id, &shared, &stop).await;
            shared.count(|progress| progress.ended += 1);
        });
    }
}

/// Makes the coming close of a socket an RST.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

#[cfg(test)]
mod tests;
