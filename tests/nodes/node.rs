//! One process of three.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::harness::soon;

/// 32 bytes of 1.
pub const WRAP_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// Another build than the one of these tests, say a release.
const BIN: &str = "USHER_BIN";

fn program() -> String {
    std::env::var(BIN).unwrap_or_else(|_| env!("CARGO_BIN_EXE_usher").to_owned())
}

pub struct Node {
    process: Child,
    address: String,
    pub channel: Channel,
}

/// From SIGTERM to the end of the process: `drain.deadline_ms`, and what is cut
/// and closed after it.
const STOPPED_WITHIN: Duration = Duration::from_millis(11_500);
/// The machine that runs this has other things to do.
const SLACK: u32 = 3;

impl Node {
    /// Its keys are in the database.
    pub async fn start(dir: &Path, database_url: &str, redis_url: &str) -> Self {
        Self::start_with(dir, database_url, redis_url, "").await
    }

    /// With failpoints armed.
    pub async fn start_with(
        dir: &Path,
        database_url: &str,
        redis_url: &str,
        failpoints: &str,
    ) -> Self {
        let keys = [
            ("USHER_KEYS__SOURCE", "sql"),
            ("USHER_KEYS__WRAP_KEY", WRAP_KEY),
            (usher::truth::failpoint::ENV, failpoints),
        ];
        Self::start_as(dir, database_url, redis_url, &keys).await
    }

    /// With settings beside those that every node has.
    pub async fn start_set(
        dir: &Path,
        database_url: &str,
        redis_url: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let keys = [
            ("USHER_KEYS__SOURCE", "sql"),
            ("USHER_KEYS__WRAP_KEY", WRAP_KEY),
        ];
        let all = [&keys[..], settings].concat();
        Self::start_as(dir, database_url, redis_url, &all).await
    }

    /// Its keys are in a directory, which it reads often.
    pub async fn start_mounted(
        dir: &Path,
        database_url: &str,
        redis_url: &str,
        keys: &Path,
    ) -> Self {
        let keys = [
            ("USHER_KEYS__SOURCE", "mounted"),
            (
                "USHER_KEYS__MOUNTED_DIR",
                keys.to_str().expect("a plain path"),
            ),
            ("USHER_KEYS__REREAD_MS", "100"),
        ];
        Self::start_as(dir, database_url, redis_url, &keys).await
    }

    async fn start_as(
        dir: &Path,
        database_url: &str,
        redis_url: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut process = Command::new(program())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("USHER_DATA_DIR", dir)
            .env("USHER_LISTEN", "127.0.0.1:0")
            .env("USHER_DATABASE_URL", database_url)
            .env("USHER_REDIS_URL", redis_url)
            .env("USHER_DEMO_CATALOG", "false")
            .env("USHER_QUEUE__REBUILD_PAUSE_MS", "1000")
            .env("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")
            .envs(settings.iter().copied())
            .args(["serve", "--log-format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = soon("a ready line", lines.next_line()).await;
        let ready = ready.expect("read").expect("it did not end");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Self {
            process,
            channel: connect(&address).await,
            address,
        }
    }

    /// One more connection.
    pub async fn connect(&self) -> Channel {
        connect(&self.address).await
    }

    /// Someone who never says anything.
    pub async fn silent_peer(&self) -> TcpStream {
        let connected = soon("a connection", TcpStream::connect(&self.address)).await;
        connected.expect("connected")
    }

    /// The whole answer to a plain GET.
    pub async fn get(&self, path: &str) -> String {
        let asked = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        soon("an answer", asked).await.expect("read")
    }

    /// kill -9.
    pub async fn kill(mut self) {
        soon("the kill", self.process.kill()).await.expect("killed");
    }

    /// SIGTERM: it stops by itself, in time.
    pub async fn terminate(mut self) {
        let began = Instant::now();
        self.signal("-TERM").await;
        let status = soon("a clean stop", self.process.wait()).await;
        assert!(status.expect("reaped").success());
        let took = began.elapsed();
        assert!(took <= STOPPED_WITHIN * SLACK, "{took:?}");
    }

    /// kill -STOP: connections stay open, nothing is answered.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// kill -CONT.
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().expect("running").to_string();
        let told = Command::new("kill").args([signal, &id]).status().await;
        assert!(told.expect("kill runs").success(), "{signal} was not sent");
    }

    /// Waits until a failpoint has killed it.
    pub async fn died(&mut self) {
        let status = soon("the kill", self.process.wait()).await;
        assert!(!status.expect("reaped").success());
    }
}

async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI");
    let channel = soon("a connection", endpoint.connect()).await;
    channel.expect("connected")
}
