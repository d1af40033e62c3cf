//! The command line: arguments in, an exit code out.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 64 bad configuration (the key
//! is named). Results go to standard output, logs and errors to standard error.

mod backup;
mod check;
mod client;
mod data;
mod demo;
mod events;
mod healthcheck;
mod log;
mod refunds;
mod room;
mod serve;
mod span;
mod token;
mod verify_draw;
mod worker;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, DEFAULTS, Flags, LogFormat, Sources};

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const BAD_CONFIGURATION: u8 = 64;

/// A virtual waiting room and ticket sale that streams every position.
///
/// Without a command it serves: `usher` alone starts a complete server on
/// 127.0.0.1:50051 with a demo catalog. Open that address in a browser.
#[derive(Debug, Parser)]
#[command(name = "usher", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that a command line may say; all others are in the file and in the
/// environment (`usher config --defaults` shows them).
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct Settings {
    /// Configuration file [env: USHER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to serve on; port 0 takes any free one [env: USHER_LISTEN]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Separate address for /metrics, /livez and /readyz [env: USHER_OPS_LISTEN]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    ops_listen: Option<SocketAddr>,
    /// Where keys and the embedded database are kept [env: USHER_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Database; SQLite in the data directory by default [env: USHER_DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Redis that holds the lines [env: USHER_REDIS_URL]
    #[arg(long, global = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Kafka that takes the events [env: USHER_KAFKA_BROKERS]
    #[arg(long, global = true, value_name = "LIST")]
    kafka_brokers: Option<String>,
    /// How logs and the ready line are written [env: USHER_LOG__FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what `usher` does without a command)
    Serve,
    /// Show the effective configuration, or all settings with their defaults
    Config {
        /// The commented file of defaults instead
        #[arg(long)]
        defaults: bool,
    },
    /// Change or show the database's schema
    Migrate {
        #[command(subcommand)]
        action: data::MigrateAction,
    },
    /// Show or rotate the keys in the data directory
    Keys {
        #[command(subcommand)]
        action: data::KeysAction,
    },
    /// Sign a user token with this server's own key
    Token(token::TokenArgs),
    /// Ask a running server whether it is ready; exit code 0 if it is
    Healthcheck,
    /// Recompute a place's order in a published draw; exit code 1 if it differs
    VerifyDraw(verify_draw::VerifyDrawArgs),
    /// Put concerts, performances and rooms from a file into the database
    #[command(long_about = data::SEED_HELP)]
    Seed {
        /// The catalog, a JSON or CSV file
        #[arg(long, value_name = "CATALOG")]
        file: PathBuf,
    },
    /// Send a crowd of simulated users to a running server in development mode
    #[command(long_about = demo::HELP)]
    Demo(demo::DemoArgs),
    /// Show or change the rooms of a running server
    Room(Box<room::RoomArgs>),
    /// Check the books: seats, tickets, money and places in the database
    ///
    /// Reads only, beside a running server or on a stopped one's database.
    /// Exit code 1 when something does not add up.
    Audit,
    /// Write the embedded database and its keys to a new file
    #[command(long_about = backup::BACKUP_HELP)]
    Backup {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Begin with the database and the keys of a backup
    #[command(long_about = backup::RESTORE_HELP)]
    Restore {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show refunds that a payment provider has not made, and end them otherwise
    Refunds {
        #[command(subcommand)]
        action: refunds::RefundsAction,
    },
    /// Consume events from Kafka, beside the servers or instead of them
    Worker,
    /// Show events that were given up, and try them again
    Events {
        #[command(subcommand)]
        action: events::EventsAction,
    },
    /// Check a recorded history for broken promises; exit code 1 if there are
    Check {
        /// A file of JSON lines, as a test or simulation run writes it
        #[arg(value_name = "HISTORY")]
        history: PathBuf,
    },
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("bad configuration: {0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => BAD_CONFIGURATION,
            Self::Usage(_) => WRONG_USAGE,
            Self::Failed(_) => FAILED,
        }
    }
}

/// The whole program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(shown) => {
            // Help and version are no errors; their code is 0.
            let code = u8::try_from(shown.exit_code()).unwrap_or(WRONG_USAGE);
            let _ = shown.print();
            return ExitCode::from(code);
        }
    };
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usher: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::Config { defaults: true } = command {
        print!("{DEFAULTS}");
        return Ok(());
    }
    let config = cli.settings.load()?;
    match command {
        Command::Serve => serve::serve(config),
        Command::Config { .. } => {
            print!("{}", config.render());
            Ok(())
        }
        Command::Migrate { action } => data::migrate(&config, action),
        Command::Keys { action } => data::keys(&config, action),
        Command::Token(args) => token::token(&config, &args),
        Command::Healthcheck => healthcheck::healthcheck(&config),
        Command::VerifyDraw(args) => verify_draw::verify_draw(args),
        Command::Seed { file } => data::seed(&config, &file),
        Command::Demo(args) => demo::demo(&config, &args),
        Command::Room(args) => room::room(&config, *args),
        Command::Audit => data::audit(&config),
        Command::Backup { file } => backup::backup(&config, &file),
        Command::Restore { file } => backup::restored(&config, &file),
        Command::Refunds { action } => refunds::refunds(&config, &action),
        Command::Worker => worker::worker(config),
        Command::Events { action } => events::events(&config, action),
        Command::Check { history } => check::check(&history),
    }
}

impl Settings {
    fn load(self) -> Result<Config, ConfigError> {
        let mut flags = Flags::new();
        let mut set = |key, value: Option<String>| {
            if let Some(value) = value {
                flags.insert(key, value);
            }
        };
        set("listen", self.listen.map(|addr| addr.to_string()));
        set("ops_listen", self.ops_listen.map(|addr| addr.to_string()));
        set("data_dir", self.data_dir);
        set("database_url", self.database_url);
        set("redis_url", self.redis_url);
        set("kafka_brokers", self.kafka_brokers);
        let mut config = Sources::of_process(self.config, flags).load()?;
        if let Some(format) = self.log_format {
            config.log.format = match format {
                LogFormatArg::Auto => LogFormat::Auto,
                LogFormatArg::Text => LogFormat::Text,
                LogFormatArg::Json => LogFormat::Json,
            };
        }
        Ok(config)
    }
}

/// For commands that wait for something but serve nobody.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::failed)?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
