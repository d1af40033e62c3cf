//! A real MariaDB on a free loopback port, in a temporary directory.
//!
//! Included by `#[path]` from integration tests and, under `cfg(test)`, from
//! the library. A server that cannot be started fails the test that needs it.
//!
//! Most tests share one server per process ([`shared`]) and each has a database
//! of its own; its commits are not synced to disk. A test that kills its server
//! starts one for itself ([`MariaDb::start`]), which keeps what it has committed.
//!
//! What the server defaults to is nothing that a store may rely on: text that
//! folds letters, no strict mode, a time zone of its own.
//!
//! The server is spawned by a thread that lives as long as it does: the kernel's
//! death signal (`setpriv --pdeathsig`) follows the thread that spawned. A
//! janitor removes the directory when its standard input ends, which is when the
//! server is dropped or the test's process is gone.
#![allow(dead_code, reason = "each includer uses a part")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use ports::free_port;

#[allow(clippy::duplicate_mod, reason = "each server has it")]
#[path = "ports.rs"]
mod ports;

const USER: &str = "usher";
const PASSWORD: &str = "let-me-in";
const READY: &str = "ready for connections";
const START_PATIENCE: Duration = Duration::from_secs(180);
const PORTS_TRIED: usize = 10;
/// A server that dies with its test may still be writing at first.
const JANITOR: &str =
    "cat >/dev/null; rm -rf \"$1\"; [ ! -e \"$1\" ] || { sleep 1; rm -rf \"$1\"; }";

/// A server; dropping it kills it and removes its data.
pub struct MariaDb {
    dir: std::path::PathBuf,
    addr: SocketAddr,
    durable: bool,
    running: Mutex<Option<Running>>,
    databases_made: AtomicU64,
    /// Removes `dir` once its standard input is closed.
    _janitor: Janitor,
}

struct Running {
    pid: u32,
    /// Closed when the process has ended and all it printed was read.
    ended: mpsc::Receiver<()>,
}

/// What tests of any server call it.
pub type Server = MariaDb;

struct Janitor(Child);

impl Drop for Janitor {
    fn drop(&mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

/// The server of this process: not durable, never killed.
pub fn shared() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| MariaDb::launch(false))
}

impl MariaDb {
    /// A server of one's own, which survives `kill -9`.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(true)
    }

    fn launch(durable: bool) -> Self {
        let (dir, janitor) = make_dir();
        install(&dir);
        for _ in 0..PORTS_TRIED {
            let addr = free_addr();
            if let Some(running) = spawn(&dir, addr, durable) {
                return Self {
                    dir,
                    addr,
                    durable,
                    running: Mutex::new(Some(running)),
                    databases_made: AtomicU64::new(0),
                    _janitor: janitor,
                };
            }
        }
        panic!("MariaDB did not start: {}", log_of(&dir));
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.addr, database)
    }

    /// The same database through a proxy.
    #[must_use]
    pub fn url_at(&self, addr: SocketAddr, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@{addr}/{database}?ssl-mode=disabled")
    }

    /// A new database, empty or a copy of `template`.
    pub fn create(&self, template: Option<&str>) -> String {
        let made = self.databases_made.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{made}");
        self.sql("", &format!("CREATE DATABASE {name}"));
        if let Some(template) = template {
            let mut dump = self.client("mariadb-dump");
            // As an operator does it: beside whoever writes, one moment of all.
            dump.args(["--single-transaction", "--quick", "--hex-blob"]);
            dump.args(["--no-tablespaces", "--skip-comments", template]);
            self.read_in(&name, &run(&mut dump));
        }
        name
    }

    /// A dump may be longer than arguments can be.
    fn read_in(&self, database: &str, dump: &str) {
        let mut client = self.client("mariadb");
        client.arg(format!("--database={database}"));
        let mut reads = client.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = reads.stdin.take().expect("piped");
        stdin.write_all(dump.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(reads.wait().expect("it ends").success(), "{client:?}");
    }

    pub fn drop_database(&self, name: &str) {
        self.sql("", &format!("DROP DATABASE {name}"));
    }

    /// Runs statements as its superuser; answers rows, tabs between columns.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut client = self.client("mariadb");
        client
            .args(["--batch", "--skip-column-names"])
            .arg(format!("--database={database}"))
            .arg(format!("--execute={sql}"));
        run(&mut client)
    }

    /// As an operator does.
    pub fn end_connections(&self, database: &str) {
        let ours = format!("SELECT id FROM information_schema.processlist WHERE db = '{database}'");
        for id in self.sql("", &ours).lines() {
            let mut client = self.client("mariadb");
            // It may have ended meanwhile.
            let _ = client.arg(format!("--execute=KILL {id}")).output();
        }
    }

    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        client
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
            .args(["--skip-ssl", "--default-character-set=utf8mb4"])
            .arg(format!("--port={}", self.addr.port()))
            .arg(format!("--user={USER}"))
            .arg(format!("--password={PASSWORD}"));
        client
    }

    /// `kill -9` of the server.
    pub fn kill(&self) {
        if let Some(running) = self.running().take() {
            signal("KILL", running.pid);
            let _ = running.ended.recv_timeout(START_PATIENCE);
        }
    }

    /// Starts a killed server on its old port and data.
    pub fn restart(&self) {
        self.kill();
        let Some(running) = spawn(&self.dir, self.addr, self.durable) else {
            panic!("MariaDB did not start again: {}", log_of(&self.dir));
        };
        *self.running() = Some(running);
    }

    /// SIGSTOP to the server.
    pub fn pause(&self) {
        self.signal_it("STOP");
    }

    pub fn resume(&self) {
        self.signal_it("CONT");
    }

    fn signal_it(&self, name: &str) {
        if let Some(running) = self.running().as_ref() {
            signal(name, running.pid);
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

fn make_dir() -> (std::path::PathBuf, Janitor) {
    let dir = tempfile::Builder::new()
        .prefix("usher-mariadb-")
        .tempdir()
        .expect("a temporary directory");
    let dir = dir.keep();
    let janitor = Command::new("sh")
        .args(["-c", JANITOR, "janitor"])
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a janitor");
    if is_root() {
        run(Command::new("chown").arg("mysql:").arg(&dir));
    }
    (dir, Janitor(janitor))
}

fn install(dir: &Path) {
    let mut install = as_server("mariadb-install-db", dir);
    install
        .args(["--no-defaults", "--skip-test-db"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--datadir={}", dir.join("data").display()));
    run(&mut install);
    let user = format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
    );
    std::fs::write(dir.join("init.sql"), user).expect("writes");
}

/// `None` if it ended before it was ready: its port may be taken.
fn spawn(dir: &Path, addr: SocketAddr, durable: bool) -> Option<Running> {
    let mut server = as_server("mariadbd", dir);
    server
        .arg("--no-defaults")
        .arg(format!("--datadir={}", dir.join("data").display()))
        .arg(format!("--init-file={}", dir.join("init.sql").display()))
        .arg(format!("--socket={}", dir.join("socket").display()))
        .arg(format!("--pid-file={}", dir.join("pid").display()))
        .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
        .arg(format!("--port={}", addr.port()))
        .args(["--max-connections=500", "--skip-log-bin"])
        .args(["--innodb-buffer-pool-size=64M"])
        .args(["--innodb-log-file-size=64M", "--performance-schema=OFF"])
        .args(["--character-set-server=latin1", "--sql-mode="])
        .args(["--collation-server=latin1_swedish_ci"])
        .arg("--default-time-zone=+09:00")
        .args(["--max-statement-time=600", "--idle-transaction-timeout=600"]);
    if !durable {
        server
            .args(["--innodb-flush-log-at-trx-commit=0"])
            .args(["--innodb-doublewrite=OFF", "--innodb-flush-method=nosync"]);
    }
    server
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let (started, ready) = mpsc::sync_channel(1);
    let (over, ended) = mpsc::sync_channel::<()>(0);
    let log = dir.join("log");
    std::thread::spawn(move || {
        let _over = over;
        let mut child = server.spawn().expect("MariaDB starts");
        let pid = child.id();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut told = String::new();
        for line in stderr.lines().map_while(Result::ok) {
            told += &line;
            told.push('\n');
            if line.contains(READY) {
                let _ = started.try_send(pid);
            }
            // Read when a start fails; the rest is for whoever debugs.
            let _ = std::fs::write(&log, &told);
        }
        let _ = child.wait();
    });
    let pid = ready.recv_timeout(START_PATIENCE).ok()?;
    Some(Running { pid, ended })
}

/// MariaDB refuses root: there it runs as its own user.
fn as_server(program: &str, dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid=mysql", "--regid=mysql", "--init-groups"]);
    }
    command.arg("--").arg(program);
    // Debian keeps servers where a user's path may not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    // Where it runs must be a directory that it may read.
    command.current_dir("/");
    // One that starts deletes what it takes for left behind in its own: beside
    // other servers in the common one, that would be their tables.
    command.env("TMPDIR", dir);
    command
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

fn free_addr() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

fn signal(name: &str, pid: u32) {
    // It may have ended meanwhile.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("a program that runs (Debian package: mariadb-server)");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}{complaint}");
    told
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}
