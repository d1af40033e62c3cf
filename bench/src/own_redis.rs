//! A Redis of one's own: on a free port, in a folder that goes with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::error::BenchError;

const START_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct OwnRedis {
    child: Child,
    dir: PathBuf,
    pub url: String,
}

impl OwnRedis {
    /// Starts `program`, and waits until it answers. `name`: of its folder.
    pub async fn start(program: &str, name: &str) -> Result<Self, BenchError> {
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
        let child = command.spawn().map_err(|error| BenchError::Start {
            program: program.into(),
            why: error.to_string(),
        })?;
        let redis = Self {
            child,
            dir,
            url: format!("redis://127.0.0.1:{port}/"),
        };
        redis.connect().await?;
        Ok(redis)
    }

    pub async fn connect(&self) -> Result<MultiplexedConnection, BenchError> {
        let client = redis::Client::open(self.url.as_str()).map_err(BenchError::failed)?;
        let give_up = Instant::now() + START_PATIENCE;
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return Ok(connection),
                Err(_) if Instant::now() < give_up => sleep(LOOK_EVERY).await,
                Err(error) => return Err(BenchError::failed(error)),
            }
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<(), BenchError> {
        Ok(self.child.kill().await?)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
