//! The accept loop of one listener.
//!
//! It outlives every error of `accept`: a peer that vanished costs nothing, a
//! lack of open files costs a pause. A connection beyond the limit is closed at
//! once, so that the peer knows. Invariant: every accepted connection holds one
//! permit and is one tracked task on one core, with the tasks of its calls beside.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::service::Service;
use crate::app::tasks::Tasks;
use crate::config::TransportConfig;
use crate::grpc::limits::BucketKey;
use crate::grpc::limits::seats::{Seat, Seats};
use crate::metrics::{
    ACCEPT_ERRORS, CONNECTIONS_ACCEPTED, CONNECTIONS_CUT, CONNECTIONS_OPEN, Metrics,
};

use super::connection::{Connector, End};
use super::cores::{CoreSeat, Cores};
use super::open_files;

/// Rest after an error of `accept` that the next one would meet too.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A listener that is being served.
pub(in crate::app) struct Server {
    close: CancellationToken,
    cut: CancellationToken,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    connections_max: usize,
    cut_by_drain: Counter,
}

impl Server {
    pub(in crate::app) fn start(
        config: &TransportConfig,
        tls: Option<TlsAcceptor>,
        service: Service,
        listener: TcpListener,
        cores: Arc<Cores>,
        metrics: &Metrics,
    ) -> Self {
        let connections_max = match config.connections_max {
            0 => open_files::connections_max(),
            max => max,
        };
        let server = Self {
            close: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: Tasks::new(),
            permits: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            cut_by_drain: metrics.counter(&CONNECTIONS_CUT, &["drain"]),
        };
        let cut = |reason| metrics.counter(&CONNECTIONS_CUT, &[reason]);
        let connector = Connector::new(config, tls, service, server.tasks.clone(), metrics);
        let accepting = Accepting {
            listener,
            connector: Arc::new(connector),
            cores,
            tasks: server.tasks.clone(),
            permits: Arc::clone(&server.permits),
            close: server.close.clone(),
            cut: server.cut.clone(),
            addresses: Arc::new(Seats::new(config.connections_per_address, cut("address"))),
            pace: Pace::new(config.accepts_per_s),
            keepalive: TcpKeepalive::new()
                .with_time(Duration::from_millis(config.keepalive_interval_ms)),
            counters: Arc::new(Counters::new(metrics)),
        };
        server.tasks.spawn_named("accept", accepting.run());
        server
    }

    /// Stops accepting, and asks every connection to end after what it does.
    pub(in crate::app) fn close(self) -> Closed {
        self.close.cancel();
        Closed(self)
    }
}

/// A server that accepts no more.
pub(in crate::app) struct Closed(Server);

impl Closed {
    /// Ends with the last connection.
    pub(in crate::app) async fn done(&self) {
        self.0.tasks.wait().await;
    }

    /// Drops what is still open, and answers how many connections that were.
    pub(in crate::app) async fn cut(self, grace: Duration) -> usize {
        let open = self.0.connections_max - self.0.permits.available_permits();
        self.0.cut_by_drain.increment(open as u64);
        self.0.cut.cancel();
        if timeout(grace, self.done()).await.is_err() {
            tracing::warn!(tasks.left = self.0.tasks.len(), "tasks outlived the cut");
        }
        open
    }
}

struct Counters {
    open: Gauge,
    accepted: Counter,
    accept_errors: Counter,
    over_limit: Counter,
    silent: Counter,
    tls: Counter,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let cut = |reason| metrics.counter(&CONNECTIONS_CUT, &[reason]);
        Self {
            open: metrics.gauge(&CONNECTIONS_OPEN, &[]),
            accepted: metrics.counter(&CONNECTIONS_ACCEPTED, &[]),
            accept_errors: metrics.counter(&ACCEPT_ERRORS, &[]),
            over_limit: cut("limit"),
            silent: cut("handshake"),
            tls: cut("tls"),
        }
    }
}

struct Accepting {
    listener: TcpListener,
    connector: Arc<Connector>,
    cores: Arc<Cores>,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    addresses: Arc<Seats>,
    pace: Pace,
    close: CancellationToken,
    cut: CancellationToken,
    keepalive: TcpKeepalive,
    counters: Arc<Counters>,
}

impl Accepting {
    async fn run(mut self) {
        loop {
            let paced = async {
                self.pace.next().await;
                self.listener.accept().await
            };
            let accepted = tokio::select! {
                biased;
                () = self.close.cancelled() => return,
                accepted = paced => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.admit(stream, from),
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    self.counters.accept_errors.increment(1);
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, from: SocketAddr) {
        self.counters.accepted.increment(1);
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.counters.over_limit.increment(1);
            return;
        };
        let address = BucketKey::of_address(from.ip());
        let Some(of_address) = self.addresses.take(Some(address)) else {
            // It cost nothing: it keeps nobody waiting either.
            return self.pace.give_back();
        };
        // Small messages leave at once; an error here is the peer's end, which
        // the first read will tell.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&self.keepalive);
        // Out of the acceptor's poller, and into the one of its core.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection is lost"),
        };
        self.counters.open.increment(1);
        let open = Open {
            counters: Arc::clone(&self.counters),
            core: self.cores.take_seat(),
            _of_address: of_address,
            _permit: permit,
        };
        let runtime = open.core.runtime().clone();
        let connector = Arc::clone(&self.connector);
        let (close, cut) = (self.close.clone(), self.cut.clone());
        let serving = async move {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, "a connection is lost"),
            };
            let end = tokio::select! {
                end = connector.serve(stream, close) => end,
                () = cut.cancelled() => End::Done,
            };
            match end {
                End::Done => {}
                End::Silent => open.counters.silent.increment(1),
                End::BadTls => open.counters.tls.increment(1),
            }
        };
        self.tasks.spawn_on(serving, &runtime);
    }
}

/// A counted connection, and what it holds.
struct Open {
    counters: Arc<Counters>,
    core: CoreSeat,
    _of_address: Seat,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.decrement(1);
    }
}

/// Lets so many pass in each tenth of a second.
struct Pace {
    /// 0: all.
    per_step: u32,
    passed: u32,
    step_ends: Instant,
}

impl Pace {
    const STEP: Duration = Duration::from_millis(100);

    fn new(per_s: u32) -> Self {
        Self {
            per_step: per_s.div_ceil(10),
            passed: 0,
            step_ends: Instant::now(),
        }
    }

    fn give_back(&mut self) {
        self.passed = self.passed.saturating_sub(1);
    }

    async fn next(&mut self) {
        if self.per_step == 0 {
            return;
        }
        let now = Instant::now();
        if now >= self.step_ends {
            (self.passed, self.step_ends) = (0, now + Self::STEP);
        } else if self.passed >= self.per_step {
            sleep_until(self.step_ends).await;
            (self.passed, self.step_ends) = (0, Instant::now() + Self::STEP);
        }
        self.passed += 1;
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_pass_at_once_and_so_many_in_each_second() {
        let mut pace = Pace::new(50);
        let started = Instant::now();
        for _ in 0..5 {
            pace.next().await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            pace.next().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pace_all_pass() {
        let mut pace = Pace::new(0);
        let started = Instant::now();
        for _ in 0..100_000 {
            pace.next().await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
