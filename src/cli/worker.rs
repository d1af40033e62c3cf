//! `usher worker`: consumes events from Kafka, and serves nobody.

use std::io::Write as _;

use futures_util::future::join_all;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::StartError;
use crate::app::events::{make_topic, members};
use crate::app::stores::Stores;
use crate::config::{Config, ConfigError};

use super::{CliError, log};

pub(super) fn worker(config: &Config) -> Result<(), CliError> {
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

async fn work(config: &Config) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    let stores = Stores::open(config).await.map_err(CliError::failed)?;
    let members = members(config, &stores).map_err(refused)?;
    let brokers = config.kafka_brokers.clone().unwrap_or_default();
    let names: Vec<&str> = members.iter().map(|member| member.name()).collect();
    say_ready(&format!("usher worker consumes: {}", names.join(", ")))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = join_all(members.into_iter().map(|member| member.run())) => {}
        () = async {
            make_topic(brokers, config.kafka.clone()).await;
            std::future::pending().await
        } => {}
    }
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

fn say_ready(line: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(CliError::failed)
}
