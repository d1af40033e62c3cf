//! A server of one's own: `usher serve` on a free port, in a data directory
//! that is removed at the end.
//!
//! It can be killed and started again on the same port and data, which is how
//! a crash in the middle of a load is made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::BenchError;

/// A start recovers every room and may wait out a lease.
const START_PATIENCE: Duration = Duration::from_secs(60);
const ANY_PORT: &str = "127.0.0.1:0";

pub struct Server {
    child: Child,
    program: PathBuf,
    /// Holds `data` and `server.log`.
    dir: PathBuf,
    env: Vec<(String, String)>,
    cpus: Option<String>,
    pub addr: SocketAddr,
}

impl Server {
    /// `program`: the `usher` to start; beside this program by default. `cpus`:
    /// the processors that it may use.
    pub async fn start(
        program: Option<PathBuf>,
        env: Vec<(String, String)>,
        cpus: Option<String>,
    ) -> Result<Self, BenchError> {
        let program = match program {
            Some(program) => program,
            None => beside("usher")?,
        };
        let nth: u32 = rand::random();
        let name = format!("usher-bench-{}-{nth:08x}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        let (child, addr) = launch(&program, &dir, &env, cpus.as_deref(), ANY_PORT).await?;
        Ok(Self {
            child,
            program,
            dir,
            env,
            cpus,
            addr,
        })
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<(), BenchError> {
        Ok(self.child.kill().await?)
    }

    /// [`Server::kill`], then a start on what was left.
    pub async fn kill_and_restart(&mut self) -> Result<(), BenchError> {
        self.kill().await?;
        let listen = self.addr.to_string();
        let cpus = self.cpus.as_deref();
        let (child, _) = launch(&self.program, &self.dir, &self.env, cpus, &listen).await?;
        self.child = child;
        Ok(())
    }

    /// SIGTERM; answers how the process ended.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, BenchError> {
        let pid = self.pid().ok_or_else(|| BenchError::failed("it is gone"))?;
        // The standard library can only send SIGKILL.
        let mut kill = Command::new("kill");
        kill.arg("-TERM").arg(pid.to_string()).status().await?;
        match timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => Err(BenchError::Failed(format!(
                "the server did not stop within {patience:?}"
            ))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A program in the folder of this one.
pub fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.exists() {
        return Ok(program);
    }
    Err(BenchError::Start {
        program,
        why: "build it first (cargo build), or name it with --usher".to_owned(),
    })
}

async fn launch(
    program: &Path,
    dir: &Path,
    env: &[(String, String)],
    cpus: Option<&str>,
    listen: &str,
) -> Result<(Child, SocketAddr), BenchError> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("server.log"))?;
    let mut command = match cpus {
        // Becomes the program itself: its process is the server's.
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cpus]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args(["serve", "--log-format", "json", "--listen", listen])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    let started = ready(&mut command).await;
    started.map_err(|why| {
        let log = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        BenchError::Start {
            program: program.to_owned(),
            why: format!("{why}; its last words: {tail:?}"),
        }
    })
}

/// Starts a program whose first line is a JSON object with its `address`.
pub async fn ready(command: &mut Command) -> Result<(Child, SocketAddr), String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let mut line = String::new();
    let mut lines = BufReader::new(stdout);
    match timeout(START_PATIENCE, lines.read_line(&mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it was not ready within {START_PATIENCE:?}")),
    }
    let said: serde_json::Value =
        serde_json::from_str(&line).map_err(|_| format!("it said {line:?}"))?;
    let addr = said["address"].as_str().and_then(|text| text.parse().ok());
    Ok((child, addr.ok_or("it did not say its address")?))
}
