//! The server as a process that can be killed.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use usher::config::{Config, Flags, Sources};

use crate::wait::soon;

pub struct Server(Child);

/// A port that was free a moment ago: clients find the next life there too.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address").port()
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
    /// Starts, and waits until it says that it is ready.
    pub async fn start(dir: &Path, port: u16, failpoints: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("USHER_DATA_DIR", dir)
            .env("USHER_LISTEN", format!("127.0.0.1:{port}"))
            .env("USHER_DEMO_CATALOG", "false")
            .env("USHER_QUEUE__REBUILD_PAUSE_MS", "500")
            .env("USHER_FAILPOINTS", failpoints)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = soon("a ready line", lines.next_line()).await;
        let ready = ready.expect("read").expect("a line");
        assert!(ready.contains("\"ready\""), "{ready}");
        Self(child)
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
