//! `usher worker`: consumes events from Kafka, and serves nobody.

use std::io::Write as _;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::StartError;
use crate::app::stores::Stores;
use crate::app::worker::Worker;
use crate::config::{Config, ConfigError};

use super::{CliError, log};

pub(super) fn worker(config: Config) -> Result<(), CliError> {
    log::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("usher-worker")
        .build()
        .map_err(CliError::failed)?;
    let worked = runtime.block_on(work(config));
    // What was begun is done by the database's own runtime, or comes again.
    runtime.shutdown_background();
    worked
}

async fn work(config: Config) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    let stores = Stores::open(&config).await.map_err(CliError::failed)?;
    let is_json = log::stdout_is_json(&config.log);
    let worker = Worker::build(config, &stores).await.map_err(refused)?;
    say_ready(&worker, is_json)?;
    let told_to_stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    worker.run(told_to_stop).await;
    Ok(())
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

/// One line (or one JSON object) on standard output.
fn say_ready(worker: &Worker, is_json: bool) -> Result<(), CliError> {
    let (names, ops) = (worker.consumers(), worker.ops_addr());
    let line = match (is_json, ops) {
        (true, ops) => json!({
            "message": "ready",
            "consumers": names,
            "ops_address": ops.map(|addr| addr.to_string()),
        })
        .to_string(),
        (false, None) => format!("usher worker consumes: {}", names.join(", ")),
        (false, Some(addr)) => format!(
            "usher worker consumes: {} (metrics and probes on {addr})",
            names.join(", ")
        ),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(CliError::failed)
}
