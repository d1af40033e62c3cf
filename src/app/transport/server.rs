//! The accept loop of one listener.
//!
//! It outlives every error of `accept`: a peer that vanished costs nothing, a
//! lack of open files costs a pause. A connection beyond the limit is closed at
//! once, so that the peer knows. Invariant: every accepted connection holds one
//! permit and is one tracked task, with the tasks of its HTTP/2 streams beside.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::service::Service;
use crate::app::tasks::Tasks;
use crate::config::TransportConfig;
use crate::metrics::{
    ACCEPT_ERRORS, CONNECTIONS_ACCEPTED, CONNECTIONS_CUT, CONNECTIONS_OPEN, Metrics,
};

use super::connection::{Connector, End};
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
        let connector = Connector::new(config, tls, service, server.tasks.clone(), metrics);
        let accepting = Accepting {
            listener,
            connector: Arc::new(connector),
            tasks: server.tasks.clone(),
            permits: Arc::clone(&server.permits),
            close: server.close.clone(),
            cut: server.cut.clone(),
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
    tasks: Tasks,
    permits: Arc<Semaphore>,
    close: CancellationToken,
    cut: CancellationToken,
    keepalive: TcpKeepalive,
    counters: Arc<Counters>,
}

impl Accepting {
    async fn run(self) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.close.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    self.counters.accept_errors.increment(1);
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream) {
        self.counters.accepted.increment(1);
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.counters.over_limit.increment(1);
            return;
        };
        // Small messages leave at once; an error here is the peer's end, which
        // the first read will tell.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&self.keepalive);
        let open = Open::new(permit, &self.counters);
        let connector = Arc::clone(&self.connector);
        let (close, cut) = (self.close.clone(), self.cut.clone());
        self.tasks.spawn(async move {
            let end = tokio::select! {
                end = connector.serve(stream, close) => end,
                () = cut.cancelled() => End::Done,
            };
            match end {
                End::Done => {}
                End::Silent => open.counters.silent.increment(1),
                End::BadTls => open.counters.tls.increment(1),
            }
        });
    }
}

/// A counted connection.
struct Open {
    counters: Arc<Counters>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit, counters: &Arc<Counters>) -> Self {
        counters.open.increment(1);
        Self {
            counters: Arc::clone(counters),
            _permit: permit,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.decrement(1);
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
