//! The polling server, its Redis, and everyone in its line.

use tokio::process::{Child, Command};

use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::own_redis::OwnRedis;
use crate::{meter, spawn};

const SOURCE: u8 = 110;
const KEY: &str = "line";
/// Users put in line by one command.
const BATCH: u32 = 1_000;

pub struct Theirs {
    pub name: String,
    pub drivers: Drivers,
    redis: OwnRedis,
    server: Child,
}

impl Theirs {
    pub async fn start(program: &str, name: &str, users: u32) -> Result<Self, BenchError> {
        let redis = OwnRedis::start(program, name).await?;
        // The one driver's users; see `Drivers::assume`.
        fill(&redis, &format!("{name}-0"), users).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["polling-server", "--redis", &redis.url, "--key", KEY])
            .kill_on_drop(true);
        let (server, addr) = spawn::ready(&mut command)
            .await
            .map_err(BenchError::failed)?;
        Ok(Self {
            name: name.to_owned(),
            drivers: Drivers::start(&[addr], 1, SOURCE)?,
            redis,
            server,
        })
    }

    /// Of the server and its Redis.
    pub fn cpu_s(&self) -> f64 {
        let pids = [self.server.id(), self.redis.pid()];
        pids.into_iter().flatten().filter_map(meter::cpu_s).sum()
    }
}

async fn fill(redis: &OwnRedis, name: &str, users: u32) -> Result<(), BenchError> {
    let mut connection = redis.connect().await?;
    for first in (0..users).step_by(BATCH as usize) {
        let mut add = redis::cmd("ZADD");
        add.arg(KEY);
        for nth in first..users.min(first + BATCH) {
            add.arg(nth).arg(format!("{name}-{nth}"));
        }
        let added: Result<u64, _> = add.query_async(&mut connection).await;
        added.map_err(BenchError::failed)?;
    }
    Ok(())
}
