//! The way to Redis, shared by the queue store and the bus.
//!
//! A [`RedisClient`] runs one command or script on the keys of one tag at the
//! server that has them: the only one, the master that Sentinels name, or a
//! cluster's by slot ([`topology`]). Each server has one pipelined connection
//! ([`link`]); subscriptions have their own ([`subscriber`]).
//!
//! Invariants:
//! - a command is sent once. One whose answer did not come may have happened;
//!   only whoever asked knows whether to ask again. Answers that say "not here"
//!   (`MOVED`, `ASK`, `NOSCRIPT`) mean that nothing happened, and those alone
//!   are followed;
//! - nothing waits longer than `redis.response_timeout_ms` for an answer and
//!   `redis.connect_timeout_ms` for a connection; a connection that was silent
//!   for so long, or whose server is no master, is given up;
//! - a server that must not hold rooms ([`Unfit`]) is as good as away: each
//!   connection is judged before its first command;
//! - the breaker only fails fast: it answers for a server that is away, and
//!   lets one try through each `redis.breaker_open_ms`;
//! - commands in flight are bounded by `redis.in_flight_max` per server.

mod figures;
mod link;
mod master;
mod script;
mod server;
mod slots;
pub mod subscriber;
mod target;
mod topology;
mod troubles;

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Value};

use crate::config::RedisConfig;
use crate::metrics::Metrics;

pub use figures::Figures;
pub use script::{Script, ScriptCall};
pub use server::Unfit;
pub use slots::slot_of;
pub use target::{Target, TargetError};

use link::Failure;
use topology::Topology;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No server, or no answer in time: the command may have happened.
    #[error("redis cannot be reached: {0}")]
    Unavailable(String),
    /// `redis.in_flight_max` commands wait already; this one was not sent.
    #[error("too many commands wait for redis")]
    Overloaded,
    /// The server's error; also those that a script raises, by their code.
    #[error("redis refused: {code} {detail}")]
    Refused { code: String, detail: String },
    /// An answer of another shape than asked for.
    #[error("redis answered something else: {0}")]
    Unexpected(String),
}

/// Runs commands and scripts. Cheap to clone.
#[derive(Clone)]
pub struct RedisClient {
    topology: Arc<Topology>,
}

impl RedisClient {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`TargetError`] for a URL, or a file of certificates, that cannot be used.
    pub fn new(url: &str, config: &RedisConfig, metrics: &Metrics) -> Result<Self, TargetError> {
        let target = Target::parse(url, config)?;
        let topology = Topology::new(target, config, Figures::new(metrics));
        Ok(Self {
            topology: Arc::new(topology),
        })
    }

    /// Channels are sharded, and so are keys.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.topology.is_cluster()
    }

    /// Rises with each failover by Sentinels, as far as those who are asked here
    /// know. `None` without Sentinels.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.topology.generation()
    }

    /// What this client counts.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        self.topology.figures()
    }

    /// Runs a command on keys of the tag `tag`, which is what stands in their
    /// braces.
    ///
    /// # Errors
    /// [`LinkError`]; nothing is tried again.
    pub async fn query<T: FromRedisValue>(&self, tag: &str, cmd: &Cmd) -> Result<T, LinkError> {
        read(self.send(slot_of(tag), cmd).await?)
    }

    /// A script on keys of the tag `tag`; say its keys and arguments, then
    /// [`ScriptCall::run`].
    pub fn script<'a>(&'a self, script: &'a Script, tag: &str) -> ScriptCall<'a> {
        ScriptCall::new(self, script, slot_of(tag))
    }

    /// Every master, or the only server: can it hold rooms?
    ///
    /// # Errors
    /// [`Unfit`] with the reason; [`Unfit::Link`] only if nothing worse is known
    /// of any of them.
    pub async fn check(&self) -> Result<(), Unfit> {
        let mut answer = Ok(());
        for link in self.topology.masters().await? {
            if let Err(failure) = link.call(&redis::cmd("PING")).await {
                match self.topology.troubles().of(&link.address) {
                    None | Some(Unfit::Link(_)) => {
                        answer = self.settle(Err(failure)).map(drop).map_err(Unfit::from);
                    }
                    Some(unfit) => return Err(unfit),
                }
            }
        }
        answer
    }

    /// Why not all rooms can be reached, as far as was noticed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.topology.troubles().any()
    }

    /// Asks anew where masters are before the next command.
    pub fn look_again(&self) {
        self.topology.look_again();
    }

    async fn send(&self, slot: u16, cmd: &Cmd) -> Result<Value, LinkError> {
        let link = self.topology.link(slot).await?;
        match link.call(cmd).await {
            Ok(value) => Ok(value),
            Err(Failure::Moved(address)) => {
                self.topology.look_again();
                let link = self.topology.link_to(&address);
                self.settle(link.call(cmd).await)
            }
            Err(Failure::Ask(address)) => {
                let link = self.topology.link_to(&address);
                self.settle(link.call_asking(cmd).await)
            }
            failed => self.settle(failed),
        }
    }

    /// What a caller is told, and what is remembered for the next call.
    fn settle(&self, answer: Result<Value, Failure>) -> Result<Value, LinkError> {
        answer.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Overloaded => LinkError::Overloaded,
            Failure::Gone(why) => {
                self.topology.look_again();
                LinkError::Unavailable(why)
            }
            Failure::Moved(address) | Failure::Ask(address) => {
                self.topology.look_again();
                LinkError::Unavailable(format!("the slot is moving to {address}"))
            }
        })
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, LinkError> {
    redis::from_redis_value(value).map_err(|error| LinkError::Unexpected(error.to_string()))
}

#[cfg(test)]
#[path = "../tests/servers/redis.rs"]
pub(crate) mod servers;
#[cfg(test)]
pub(crate) mod tests;
