//! The composition root: a value that is built, bound, run and drained.
//!
//! [`App::build`] wires the services into one `http::Request → Response` value
//! ([`service`]); [`App::bind`] opens the listeners, so that the address is
//! known before anyone is served; [`BoundApp::run`] serves until `shutdown`,
//! then drains: NOT_SERVING at once, the hub tells every stream to come back
//! elsewhere, every connection gets GOAWAY, and what is still open at the
//! deadline is cut. The whole stop, the stores' last words included, takes at
//! most the deadline and [`STOP_GRACE`].

pub mod authentication;
mod backlog;
pub mod backup;
pub mod events;
mod http;
pub mod keyring;
mod line;
mod measure;
pub mod node;
mod notices;
mod page;
mod payments;
mod peers;
mod presence;
mod probes;
mod receivers;
mod retention;
mod service;
mod slow_body;
mod standby;
mod steering;
pub mod stores;
mod streams;
mod tasks;
mod transport;
mod webhook;
pub mod wiring;
pub mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

use crate::config::{Config, TransportConfig};
use crate::metrics::Metrics;

use probes::Probes;
pub use probes::Readiness;
use slow_body::SlowBodyLayer;
pub use tasks::Tasks;
pub use transport::cores::Cores;
use transport::server::Server;

/// Time for what was cut at the deadline to end.
const CUT_GRACE: Duration = Duration::from_millis(500);
/// From the deadline of the drain to the end of the process: the cut, and what
/// the stores have still to finish.
const STOP_GRACE: Duration = Duration::from_millis(1_500);
/// Health watchers are ended this long after they were told NOT_SERVING.
const WATCHERS_GRACE: Duration = Duration::from_millis(500);

/// Why a start failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{key}: {why}")]
    Setting { key: &'static str, why: String },
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        addr: SocketAddr,
        source: std::io::Error,
    },
    #[error("a store cannot be used: {why}")]
    Store { why: String },
    #[error("the descriptors of the contract cannot be read: {0}")]
    Descriptors(String),
}

/// What the app serves; made by whoever knows stores and engine.
pub struct Services {
    /// The product's gRPC services. Health and reflection are the app's.
    pub grpc: Routes,
    /// Plain HTTP beside the app's own `/`, `/metrics`, `/livez`, `/readyz`
    /// and the JWKS.
    pub http: axum::Router,
    /// The public keys to publish, as they are now.
    pub jwks: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether a balancer should send users here.
    pub readiness: Arc<dyn Readiness>,
    /// Tells every open stream to come back elsewhere, and returns at once.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

pub struct App {
    config: Config,
    service: service::Service,
    ops: axum::Router,
    probes: Probes,
    drain: Arc<dyn Fn() + Send + Sync>,
    tls: Option<TlsAcceptor>,
    /// None: the runtime that runs it.
    cores: Option<Arc<Cores>>,
    metrics: Metrics,
}

impl App {
    /// # Errors
    /// [`StartError`] when a setting names what cannot be used.
    pub async fn build(
        config: Config,
        services: Services,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let tls = transport::tls::acceptor(&config.tls)?;
        let (probes, health) = Probes::start(services.readiness).await;
        let ops = http::ops_routes(&config.metrics, &metrics, &probes);
        let jwks = services.jwks;
        let mut plain = page::routes()
            .merge(http::jwks_routes(move || jwks()))
            .merge(services.http);
        if config.ops_listen.is_none() {
            plain = plain.merge(ops.clone());
        }
        // Reflection alone takes messages for as long as it likes.
        let timeout = Duration::from_millis(config.transport.request_timeout_ms);
        let health = health.max_decoding_message_size(config.limits.request_bytes_max);
        let grpc = services.grpc.add_service(health).into_axum_router();
        let grpc = Routes::from(grpc.layer(SlowBodyLayer(timeout)));
        let grpc = service::with_reflection(grpc, config.limits.request_bytes_max)?;
        let service = service::compose(grpc, plain, &config.transport, &metrics)?;
        Ok(Self {
            config,
            service,
            ops,
            probes,
            drain: services.drain,
            tls,
            cores: None,
            metrics,
        })
    }

    /// Serves connections there, instead of where [`BoundApp::run`] runs.
    #[must_use]
    pub fn on(mut self, cores: Arc<Cores>) -> Self {
        self.cores = Some(cores);
        self
    }

    /// Opens the listeners.
    ///
    /// # Errors
    /// [`StartError::Listen`] when an address cannot be had.
    pub async fn bind(self) -> Result<BoundApp, StartError> {
        let (listener, addr) = listen(self.config.listen).await?;
        let ops = match self.config.ops_listen {
            Some(addr) => Some(listen(addr).await?),
            None => None,
        };
        Ok(BoundApp {
            app: self,
            listener,
            addr,
            ops,
        })
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refuse = |source| StartError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(refuse)?;
    let local = listener.local_addr().map_err(refuse)?;
    Ok((listener, local))
}

pub struct BoundApp {
    app: App,
    listener: TcpListener,
    addr: SocketAddr,
    ops: Option<(TcpListener, SocketAddr)>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were still open at the deadline.
    pub cut: usize,
    /// When the stores must have finished too.
    pub ends_at: Instant,
}

impl Stopped {
    /// What is left for the stores.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
    }
}

impl BoundApp {
    /// The address served, with the port that was found.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of metrics and probes, where they have their own.
    #[must_use]
    pub fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|(_, addr)| *addr)
    }

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Stopped {
        let Self {
            app, listener, ops, ..
        } = self;
        let transport = &app.config.transport;
        let here = Arc::new(Cores::here());
        let cores = app.cores.unwrap_or_else(|| Arc::clone(&here));
        let server = Server::start(
            transport,
            app.tls,
            app.service,
            listener,
            cores,
            &app.metrics,
        );
        // A probe must not wait behind a crowd, nor a crowd for its figures.
        let ops = ops.map(|(listener, _)| {
            let unpaced = TransportConfig {
                connections_per_address: 0,
                accepts_per_s: 0,
                ..transport.clone()
            };
            Server::start(&unpaced, None, app.ops, listener, here, &app.metrics)
        });
        tokio::select! {
            () = shutdown => {}
            () = app.probes.follow() => {}
        }

        tracing::info!("stopping");
        let deadline = Duration::from_millis(app.config.drain.deadline_ms);
        let ends_at = Instant::now() + deadline + STOP_GRACE;
        app.probes.set_not_serving().await;
        (app.drain)();
        let closed = server.close();
        let drained = async {
            if timeout(WATCHERS_GRACE, closed.done()).await.is_err() {
                app.probes.end_watchers().await;
                closed.done().await;
            }
        };
        let in_time = timeout(deadline, drained).await.is_ok();
        let cut_what_is_left = async {
            match in_time {
                true => 0,
                false => closed.cut(CUT_GRACE).await,
            }
        };
        let close_ops = async {
            if let Some(ops) = ops {
                ops.close().cut(CUT_GRACE).await;
            }
        };
        let (cut, ()) = tokio::join!(cut_what_is_left, close_ops);
        tracing::info!(connections.cut = cut, "stopped");
        Stopped { cut, ends_at }
    }
}
