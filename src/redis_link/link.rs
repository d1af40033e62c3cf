//! One server: its connection, its breaker, its limit.
//!
//! Commands of all callers share one connection and are pipelined on it. A
//! connection that failed is forgotten, so that the next command makes a new
//! one; whoever still waits on the old one gets an answer or its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisError, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::config::RedisConfig;

use super::LinkError;
use super::figures::{Figures, Outcome};
use super::server::{self, Unfit};
use super::slots::Address;
use super::target::Target;
use super::troubles::Troubles;
use crate::breaker::Breaker;

/// Errors of a server that is there, but not for this now: nothing happened,
/// and nothing is wrong with the command.
const NOT_NOW: &[&str] = &[
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
];
/// Of those, the ones that say that another server is the right one.
const NOT_HERE: &[&str] = &["MASTERDOWN", "READONLY"];

/// Errors of a server that wants to know who asks.
const NOT_YOU: &[&str] = &["NOAUTH", "WRONGPASS"];

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Gone(String),
    Overloaded,
    Moved(Address),
    Ask(Address),
    Refused(LinkError),
}

pub(super) struct Link {
    pub(super) address: Address,
    target: Arc<Target>,
    /// A Sentinel's word may be old: the server itself must agree.
    must_be_master: bool,
    settings: Settings,
    figures: Figures,
    troubles: Arc<Troubles>,
    breaker: Breaker,
    permits: Semaphore,
    current: Mutex<Current>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Settings {
    response_timeout: Duration,
    connect_timeout: Duration,
    pipeline_max: usize,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that a late failure does not end a newer one.
    generation: u64,
    connection: Option<MultiplexedConnection>,
    connect_failures: u64,
}

/// What is sent, once.
enum Message<'a> {
    Plain(&'a Cmd),
    /// To a server that takes a slot over and does not have it yet.
    Asking(&'a Cmd),
}

impl Message<'_> {
    async fn send(self, mut connection: MultiplexedConnection) -> Result<Value, RedisError> {
        match self {
            Self::Plain(cmd) => cmd.query_async(&mut connection).await,
            Self::Asking(cmd) => {
                let mut both = redis::pipe();
                both.cmd("ASKING").ignore().add_command(cmd.clone());
                let (answer,) = both.query_async(&mut connection).await?;
                Ok(answer)
            }
        }
    }
}

impl Link {
    pub(super) fn new(
        address: Address,
        target: Arc<Target>,
        must_be_master: bool,
        config: &RedisConfig,
        figures: Figures,
        troubles: Arc<Troubles>,
    ) -> Self {
        let open_for = Duration::from_millis(config.breaker_open_ms);
        Self {
            address,
            target,
            must_be_master,
            settings: Settings {
                response_timeout: Duration::from_millis(config.response_timeout_ms),
                connect_timeout: Duration::from_millis(config.connect_timeout_ms),
                pipeline_max: config.pipeline_max,
            },
            figures,
            troubles,
            breaker: Breaker::new(config.breaker_failures, open_for),
            permits: Semaphore::new(config.in_flight_max),
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.guarded(Message::Plain(cmd)).await
    }

    /// A command for a slot that is moving here.
    pub(super) async fn call_asking(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.guarded(Message::Asking(cmd)).await
    }

    async fn guarded(&self, message: Message<'_>) -> Result<Value, Failure> {
        if !self.breaker.admits(Instant::now()) {
            self.figures.shed_by_breaker();
            return Err(Failure::Gone(format!("{} is away", self.address)));
        }
        let patience = self.settings.response_timeout;
        let Ok(Ok(_permit)) = timeout(patience, self.permits.acquire()).await else {
            self.figures.shed_by_limit();
            return Err(Failure::Overloaded);
        };
        let started = Instant::now();
        let answer = match self.connection().await {
            Ok((generation, connection)) => {
                let answer = message.send(connection).await;
                answer.map_err(|error| self.judge(&error, generation))
            }
            Err(error) => Err(Failure::Gone(error)),
        };
        let outcome = match &answer {
            Ok(_) => Outcome::Answered,
            Err(Failure::Gone(_)) => Outcome::Gone,
            Err(_) => Outcome::Refused,
        };
        self.figures.command(outcome, started.elapsed());
        match outcome {
            Outcome::Answered | Outcome::Refused => self.breaker.succeeded(),
            Outcome::Gone => self.note_failure(),
        }
        answer
    }

    fn note_failure(&self) {
        if self.breaker.failed(Instant::now()) {
            self.figures.breaker_opened();
            tracing::warn!(server.address = %self.address, "redis does not answer");
        }
    }

    /// What an error means, and whether its connection is still good.
    fn judge(&self, error: &RedisError, generation: u64) -> Failure {
        let Some(code) = error.code().filter(|_| !error.is_io_error()) else {
            let why = format!("{}: {error}", self.address);
            self.forget(generation, &why);
            return Failure::Gone(why);
        };
        if let Some((host, port)) = error.redirect_node() {
            let address = Address {
                host: match host.is_empty() {
                    true => self.address.host.clone(),
                    false => host.to_owned(),
                },
                port,
            };
            return match code {
                "ASK" => Failure::Ask(address),
                _ => Failure::Moved(address),
            };
        }
        let detail = error.detail().unwrap_or_default().to_owned();
        if NOT_HERE.contains(&code) {
            self.forget(generation, &format!("{}: {code} {detail}", self.address));
        }
        match NOT_NOW.contains(&code) {
            true => Failure::Gone(format!("{}: {code} {detail}", self.address)),
            false => Failure::Refused(LinkError::Refused {
                code: code.to_owned(),
                detail,
            }),
        }
    }

    /// The connection, made by one caller for all who wait.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), String> {
        let failures = self.current().connect_failures;
        if let Some(there) = self.established() {
            return Ok(there);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(there) = self.established() {
            return Ok(there);
        }
        if self.current().connect_failures != failures {
            // Those who waited do not each wait for a try of their own.
            return Err(format!("{} is away", self.address));
        }
        let connected = self.connect().await;
        self.figures.connection(connected.is_ok());
        match connected {
            Ok(connection) => {
                self.troubles.none(&self.address);
                let mut current = self.current();
                current.generation += 1;
                current.connection = Some(connection.clone());
                Ok((current.generation, connection))
            }
            Err(unfit) => {
                self.current().connect_failures += 1;
                let why = match &unfit {
                    Unfit::Link(LinkError::Unavailable(why)) => why.clone(),
                    unfit => unfit.to_string(),
                };
                let is_away = matches!(unfit, Unfit::Link(_));
                if self.troubles.note(&self.address, unfit) && !is_away {
                    tracing::error!(error = %why, "redis must not be used as it is");
                }
                Err(why)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Unfit> {
        let connected = self.try_connect().await;
        let (connection, info) = connected.map_err(|error| self.unfit(&error))?;
        server::judge(&self.address.to_string(), &info)?;
        Ok(connection)
    }

    fn unfit(&self, error: &RedisError) -> Unfit {
        let is_refused = error.kind() == ErrorKind::AuthenticationFailed
            || error.code().is_some_and(|code| NOT_YOU.contains(&code));
        match is_refused {
            true => Unfit::Credentials {
                address: self.address.to_string(),
                why: error.to_string(),
            },
            false => LinkError::Unavailable(format!("{}: {error}", self.address)).into(),
        }
    }

    /// A connection, and what its server says of itself.
    async fn try_connect(&self) -> Result<(MultiplexedConnection, String), RedisError> {
        let client = self.target.client(&self.address)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.response_timeout))
            .set_pipeline_buffer_size(self.settings.pipeline_max);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        if self.must_be_master {
            super::master::expect_master(&mut connection).await?;
        }
        let info = redis::cmd("INFO").query_async(&mut connection).await?;
        Ok((connection, info))
    }

    fn established(&self) -> Option<(u64, MultiplexedConnection)> {
        let current = self.current();
        Some((current.generation, current.connection.clone()?))
    }

    fn forget(&self, generation: u64, why: &str) {
        let mut current = self.current();
        if current.generation == generation {
            current.connection = None;
            self.troubles.gone(&self.address, why);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
