//! `usher serve`: builds the app, says where it is, and stops when told.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::node::Node;
use crate::app::stores::Stores;
use crate::app::{App, BoundApp, Cores, StartError, Stopped, wiring};
use crate::config::{Config, ConfigError};

use super::{CliError, log};

/// How long the stores may take to finish after a start that failed.
const STORES_STOP: Duration = Duration::from_secs(1);

pub(super) fn serve(config: Config) -> Result<(), CliError> {
    log::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("usher")
        .build()
        .map_err(CliError::failed)?;
    let cores = Cores::start(config.transport.cores).map_err(CliError::failed)?;
    let served = runtime.block_on(run(config, Arc::new(cores)));
    // What still runs was given its time: no blocking work may hold the exit up.
    runtime.shutdown_background();
    served
}

/// What connections have begun on `cores` may still run when they are closed.
async fn run(config: Config, cores: Arc<Cores>) -> Result<(), CliError> {
    // Listened to from the start: a stop during a slow one is a stop too.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    let told_to_stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let stores = Stores::open(&config).await.map_err(CliError::failed)?;
    let node = Node::start(&config, &stores).await.map_err(refused)?;
    let stopped = run_node((&config, &stores, &node), &cores, told_to_stop).await;
    // After a failure too: the lease must not keep the next start waiting.
    let left = stopped.as_ref().map_or(STORES_STOP, Stopped::time_left);
    node.stop(left).await;
    stopped.map(drop)
}

async fn run_node(
    (config, stores, node): (&Config, &Stores, &Node),
    cores: &Arc<Cores>,
    told_to_stop: impl Future<Output = ()>,
) -> Result<Stopped, CliError> {
    let services = wiring::services(config, stores, node).await;
    let metrics = stores.metrics.clone();
    node.report_backlog(&metrics);
    node.report_standby(&metrics);
    node.steer_rates(&config.steering, &metrics);
    node.report_streams(&metrics);
    let app = App::build(config.clone(), services.map_err(refused)?, metrics);
    let app = app.await.map_err(refused)?.on(Arc::clone(cores));
    let bound = app.bind().await.map_err(refused)?;
    say_ready(config, &bound)?;
    let shutdown = async {
        tokio::select! {
            () = told_to_stop => {}
            () = node.lost_lease() => {}
        }
    };
    Ok(bound.run(shutdown).await)
}

fn refused(error: StartError) -> CliError {
    match error {
        StartError::Setting { key, why } => CliError::Config(ConfigError {
            key: key.to_owned(),
            why,
        }),
        error => CliError::failed(error),
    }
}

/// One line (or one JSON object) on standard output, once the port is open.
fn say_ready(config: &Config, bound: &BoundApp) -> Result<(), CliError> {
    let addr = bound.addr();
    let scheme = if config.tls.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{}/", reachable(addr));
    let data_dir = config.data_dir().display().to_string();
    let line = if log::stdout_is_json(&config.log) {
        json!({
            "message": "ready",
            "address": addr.to_string(),
            "ops_address": bound.ops_addr().map(|addr| addr.to_string()),
            "url": url,
            "data_dir": data_dir,
        })
        .to_string()
    } else {
        format!("usher is ready on {addr}: open {url} (data in {data_dir}; Ctrl-C stops)")
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(CliError::failed)
}

/// An address that a client on this host can use.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    if !addr.ip().is_unspecified() {
        return addr;
    }
    let loopback: std::net::IpAddr = match addr {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, addr.port())
}
