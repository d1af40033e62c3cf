//! The server as a process that can be killed.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use sea_orm::{ConnectionTrait as _, Statement};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use usher::app::stores::open_sql;
use usher::config::{Config, Flags, Sources};
use usher::store::sales::Audit as _;
use usher::store::sql::SqlError;

use crate::harness::soon;
use ports::free_port;

#[allow(clippy::duplicate_mod, reason = "each server has it")]
#[path = "../servers/ports.rs"]
mod ports;

/// Ports tried for a first life: someone else may take one before it does.
const PORTS_TRIED: usize = 5;

pub struct Server(Child);

/// Another build than the one of these tests, say a release.
const BIN: &str = "USHER_BIN";

fn program() -> String {
    std::env::var(BIN).unwrap_or_else(|_| env!("CARGO_BIN_EXE_usher").to_owned())
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

pub fn config(dir: &Path) -> Config {
    let sources = Sources {
        file: None,
        env: Vec::new(),
        flags: Flags::from([("data_dir", dir.display().to_string())]),
    };
    sources.load().expect("a valid configuration")
}

impl Server {
    /// Starts on a port of its own, where clients find the next lives too.
    pub async fn first(dir: &Path, env: &[(&str, &str)]) -> (Self, u16) {
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            if let Some(server) = Self::start(dir, port, env).await {
                return (server, port);
            }
            assert!(is_taken(port), "it ended without a ready line");
        }
        panic!("{PORTS_TRIED} ports were taken meanwhile");
    }

    /// The next life on the same data.
    pub async fn again(dir: &Path, port: u16, env: &[(&str, &str)]) -> Self {
        let server = Self::start(dir, port, env).await;
        server.expect("a ready line")
    }

    /// Waits until it says that it is ready; `None`: it ended first.
    async fn start(dir: &Path, port: u16, env: &[(&str, &str)]) -> Option<Self> {
        // A write beyond the largest file that a test allows is an error, and
        // not the end.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\""])
            .arg(program())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("USHER_DATA_DIR", dir)
            .env("USHER_LISTEN", format!("127.0.0.1:{port}"))
            .env("USHER_DEMO_CATALOG", "false")
            .env("USHER_QUEUE__REBUILD_PAUSE_MS", "500")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = soon("a ready line", lines.next_line()).await;
        let ready = ready.expect("read")?;
        assert!(ready.contains("\"ready\""), "{ready}");
        Some(Self(child))
    }

    /// From now on no file may be larger: the disk is full. `unlimited`: it is
    /// not any more.
    pub async fn limit_files(&self, bytes: &str) {
        let id = self.0.id().expect("running").to_string();
        let soft_limit = format!("--fsize={bytes}:");
        let mut prlimit = Command::new("prlimit");
        let set = prlimit.args(["--pid", &id, &soft_limit]).status().await;
        assert!(set.expect("prlimit runs").success());
    }

    /// Waits until a failpoint has killed it.
    pub async fn died(&mut self) {
        let status = soon("the kill", self.0.wait()).await.expect("reaped");
        assert!(!status.success());
    }

    pub async fn kill(&mut self) {
        soon("the kill", self.0.kill()).await.expect("killed");
    }

    /// SIGTERM: it stops by itself.
    pub async fn terminate(mut self) {
        let id = self.0.id().expect("running").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.expect("kill runs").success());
        let status = soon("a clean stop", self.0.wait()).await.expect("reaped");
        assert!(status.success(), "{status}");
    }
}

/// No broken promise in the database, and no broken page.
pub async fn assert_is_sound(dir: &Path) {
    let sql = open_sql(&config(dir)).await.expect("opened");
    let pages = sql.read((), |tx, ()| {
        Box::pin(async move {
            let check = Statement::from_string(tx.get_database_backend(), "PRAGMA integrity_check");
            let row = tx.query_one_raw(check).await?.expect("a row");
            Ok::<String, SqlError>(row.try_get("", "integrity_check")?)
        })
    });
    assert_eq!(pages.await.expect("read"), "ok");
    let report = sql.audit().await.expect("audited");
    assert!(report.is_clean(), "{report:#?}");
}
