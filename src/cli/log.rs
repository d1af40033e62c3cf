//! Logs for people on a terminal, JSON for everything else.

use std::io::{IsTerminal, stderr, stdout};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// At `trace` this library tells the database's URL, with its password.
const TELLS_PASSWORDS: &str = "sea_orm=error";

/// Sends log lines to standard error from now on.
pub(super) fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = format!("{},{TELLS_PASSWORDS}", config.filter);
    let filter = EnvFilter::try_new(filter).map_err(|error| ConfigError {
        key: "log.filter".to_owned(),
        why: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    // Only a second start in one process could fail, and there is none.
    let _ = if is_json(config.format, stderr().is_terminal()) {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(stderr().is_terminal()).try_init()
    };
    Ok(())
}

/// Whether results on standard output are for a program.
pub(super) fn stdout_is_json(config: &LogConfig) -> bool {
    is_json(config.format, stdout().is_terminal())
}

fn is_json(format: LogFormat, is_terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}
