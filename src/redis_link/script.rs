//! Scripts, sent by their digest.
//!
//! A server that does not have a script says so before anything happens
//! (`NOSCRIPT`); then the whole text is sent once, which it keeps.

use redis::{Cmd, FromRedisValue, ToRedisArgs};

use super::{LinkError, RedisClient};

/// A Lua script of the program.
#[derive(Debug, Clone)]
pub struct Script {
    source: &'static str,
    digest: String,
}

impl Script {
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        Self {
            source,
            digest: redis::Script::new(source).get_hash().to_owned(),
        }
    }

    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// One run of a script.
pub struct ScriptCall<'a> {
    client: &'a RedisClient,
    script: &'a Script,
    slot: u16,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl<'a> ScriptCall<'a> {
    pub(super) fn new(client: &'a RedisClient, script: &'a Script, slot: u16) -> Self {
        Self {
            client,
            script,
            slot,
            keys: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Adds a key, or several.
    #[must_use]
    pub fn key(mut self, key: impl ToRedisArgs) -> Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    /// Adds an argument, or several.
    #[must_use]
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// # Errors
    /// [`LinkError`]; [`LinkError::Refused`] carries the script's own errors.
    pub async fn run<T: FromRedisValue>(self) -> Result<T, LinkError> {
        let by_digest = self.command("EVALSHA", &self.script.digest);
        let answer = match self.client.send(self.slot, &by_digest).await {
            Err(LinkError::Refused { code, .. }) if code == "NOSCRIPT" => {
                let whole = self.command("EVAL", self.script.source);
                self.client.send(self.slot, &whole).await?
            }
            answer => answer?,
        };
        super::read(answer)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut cmd = redis::cmd(name);
        cmd.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.args) {
            cmd.arg(part.as_slice());
        }
        cmd
    }
}
