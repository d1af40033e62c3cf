//! The polling server, its Redis, and everyone in its line.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::{meter, spawn};

const SOURCE: u8 = 110;
const KEY: &str = "line";
const START_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Users put in line by one command.
const BATCH: u32 = 1_000;

pub struct Theirs {
    pub name: String,
    pub drivers: Drivers,
    redis: Child,
    server: Child,
    dir: PathBuf,
}

impl Theirs {
    pub async fn start(program: &str, name: &str, users: u32) -> Result<Self, BenchError> {
        let dir = std::env::temp_dir().join(format!("usher-bench-{name}"));
        std::fs::create_dir_all(&dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let redis = command.spawn().map_err(|error| BenchError::Start {
            program: program.into(),
            why: error.to_string(),
        })?;
        let url = format!("redis://127.0.0.1:{port}/");
        // The one driver's users; see `Drivers::assume`.
        fill(&url, &format!("{name}-0"), users).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["polling-server", "--redis", &url, "--key", KEY])
            .kill_on_drop(true);
        let (server, addr) = spawn::ready(&mut command)
            .await
            .map_err(BenchError::failed)?;
        Ok(Self {
            name: name.to_owned(),
            drivers: Drivers::start(&[addr], 1, SOURCE)?,
            redis,
            server,
            dir,
        })
    }

    /// Of the server and its Redis.
    pub fn cpu_s(&self) -> f64 {
        let pids = [self.server.id(), self.redis.id()];
        pids.into_iter().flatten().filter_map(meter::cpu_s).sum()
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.redis.start_kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn fill(url: &str, name: &str, users: u32) -> Result<(), BenchError> {
    let client = redis::Client::open(url).map_err(BenchError::failed)?;
    let give_up = Instant::now() + START_PATIENCE;
    let mut connection = loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => break connection,
            Err(_) if Instant::now() < give_up => sleep(LOOK_EVERY).await,
            Err(error) => return Err(BenchError::failed(error)),
        }
    };
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
