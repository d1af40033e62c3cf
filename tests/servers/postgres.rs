//! A real PostgreSQL on a free loopback port, in a temporary directory.
//!
//! Included by `#[path]` from integration tests and, under `cfg(test)`, from
//! the library. A server that cannot be started fails the test that needs it.
//!
//! Most tests share one server per process ([`shared`]) and each has a database
//! of its own, copied from a template; its commits are not synced to disk. A
//! test that kills its server starts one for itself ([`Postgres::start`]), which
//! keeps what it has committed.
//!
//! The postmaster is spawned by a thread that lives as long as it does: the
//! kernel's death signal (`setpriv --pdeathsig`) follows the thread that
//! spawned. A janitor removes the directory when its standard input ends, which
//! is when the server is dropped or the test's process is gone.
#![allow(dead_code, reason = "each includer uses a part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use ports::free_port;

#[allow(clippy::duplicate_mod, reason = "each server has it")]
#[path = "ports.rs"]
mod ports;

/// Where Debian keeps what is not on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
const USER: &str = "usher";
const READY: [&str; 2] = [
    "database system is ready to accept connections",
    "database system is ready to accept read-only connections",
];
const START_PATIENCE: Duration = Duration::from_secs(180);
const PORTS_TRIED: usize = 10;
/// Each starts a program: a minute at least.
const LOOKS_MAX: u32 = 10_000;
/// Nothing is synced: fast, and gone with the machine.
const NOT_DURABLE: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
];
/// What is committed is on its way to a standby, though on no disk.
const NOT_SYNCED: &[&str] = &["fsync=off"];
/// Of a standby: who asks is known by name, and what is asked is in the log.
const TELLING: &[&str] = &[
    "fsync=off",
    "log_statement=all",
    "log_line_prefix=%a|",
    "wal_retrieve_retry_interval=100ms",
];

/// A server that dies with its test may still be writing at first.
const JANITOR: &str =
    "cat >/dev/null; rm -rf \"$1\"; [ ! -e \"$1\" ] || { sleep 1; rm -rf \"$1\"; }";

/// A server; dropping it kills it and removes its data.
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
    settings: &'static [&'static str],
    running: Mutex<Option<Postmaster>>,
    databases_made: AtomicU64,
    /// Removes `dir` once its standard input is closed.
    _janitor: Janitor,
}

struct Postmaster {
    pid: u32,
    /// Closed when the process has ended and all it printed was read.
    ended: mpsc::Receiver<()>,
}

/// What tests of any server call it.
pub type Server = Postgres;

struct Janitor(Child);

impl Drop for Janitor {
    fn drop(&mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

/// The server of this process: not durable, never killed.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::launch(NOT_DURABLE))
}

impl Postgres {
    /// A server of one's own, which survives `kill -9`.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(&[])
    }

    /// A server of one's own that is not killed: others may follow it.
    #[must_use]
    pub fn start_not_synced() -> Self {
        Self::launch(NOT_SYNCED)
    }

    fn launch(settings: &'static [&'static str]) -> Self {
        let bin = bin_dir();
        let (dir, janitor) = make_dir();
        initdb(&bin, &dir);
        Self::run(bin, dir, janitor, settings)
    }

    /// A hot standby of this server, which streams from it. Its log has every
    /// statement ([`Postgres::asked_by`]).
    #[must_use]
    pub fn standby(&self) -> Self {
        let (dir, janitor) = make_dir();
        let mut copy = as_server(&self.bin.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--no-sync", "--checkpoint=fast"])
            .args(["--wal-method=stream", "--dbname", &self.url("postgres")])
            .arg("--pgdata")
            .arg(dir.join("data"));
        run(&mut copy);
        Self::run(self.bin.clone(), dir, janitor, TELLING)
    }

    fn run(
        bin: PathBuf,
        dir: PathBuf,
        janitor: Janitor,
        settings: &'static [&'static str],
    ) -> Self {
        for _ in 0..PORTS_TRIED {
            let addr = free_addr();
            if let Some(postmaster) = spawn(&bin, &dir, addr, settings) {
                return Self {
                    bin,
                    dir,
                    addr,
                    settings,
                    running: Mutex::new(Some(postmaster)),
                    databases_made: AtomicU64::new(0),
                    _janitor: janitor,
                };
            }
        }
        panic!("PostgreSQL did not start: {}", log_of(&dir));
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
        format!("postgres://{USER}@{addr}/{database}?sslmode=disable")
    }

    /// A new database, empty or a copy of `template`, whom nobody may use now.
    pub fn create(&self, template: Option<&str>) -> String {
        let made = self.databases_made.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{made}");
        let template = template.unwrap_or("template0");
        // Copying files is faster than logging each page of an empty database.
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"),
        );
        name
    }

    /// As an operator backs it up.
    pub fn dump(&self, database: &str, file: &Path) {
        let mut dump = Command::new(self.bin.join("pg_dump"));
        dump.args(["--format=custom", "--file"]).arg(file);
        run(dump.arg(self.url(database)));
    }

    /// As an operator restores it: into a new database, of whose name
    /// `database` is from now on.
    pub fn restore(&self, database: &mut String, file: &Path) {
        self.drop_database(database);
        *database = self.create(None);
        let mut restore = Command::new(self.bin.join("pg_restore"));
        restore.args(["--exit-on-error", "--single-transaction", "--dbname"]);
        run(restore.arg(self.url(database)).arg(file));
    }

    pub fn drop_database(&self, name: &str) {
        self.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    }

    /// Runs a statement as its superuser; answers unaligned rows.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let url = self.url(database);
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(&url);
        run(&mut psql)
    }

    /// A session that stays: what it locks in a transaction is locked until it
    /// is dropped.
    #[must_use]
    pub fn session(&self, database: &str) -> Session {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .arg(self.url(database))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut psql = psql.spawn().expect("psql starts");
        let said = BufReader::new(psql.stdout.take().expect("piped"));
        Session { psql, said }
    }

    /// Keeps a standby as it is now: it goes on receiving, and applies nothing.
    pub fn freeze(&self) {
        self.sql("postgres", "SELECT pg_wal_replay_pause()");
        let state = "SELECT pg_get_wal_replay_pause_state()";
        let is_paused = |_| self.sql("postgres", state).trim() == "paused";
        assert!((0..LOOKS_MAX).any(is_paused), "its replay goes on");
    }

    pub fn thaw(&self) {
        self.sql("postgres", "SELECT pg_wal_replay_resume()");
    }

    /// Of a standby: what the clients of this name asked since its start.
    #[must_use]
    pub fn asked_by(&self, application: &str) -> String {
        let log = log_of(&self.dir);
        let mut asked = String::new();
        let mut is_theirs = false;
        for line in log.lines() {
            // What follows on a statement's first line is indented.
            if !line.starts_with('\t') {
                is_theirs = line.split('|').next() == Some(application);
            }
            if is_theirs {
                asked.push_str(line);
                asked.push('\n');
            }
        }
        asked
    }

    /// `kill -9` of the whole server.
    pub fn kill(&self) {
        if let Some(postmaster) = self.running().take() {
            let backends = children_of(postmaster.pid);
            signal("KILL", &[postmaster.pid]);
            // Without their postmaster they would end by themselves, later.
            signal("KILL", &backends);
            let _ = postmaster.ended.recv_timeout(START_PATIENCE);
        }
    }

    /// Starts a killed server on its old port and data.
    pub fn restart(&self) {
        self.kill();
        let started = spawn(&self.bin, &self.dir, self.addr, self.settings);
        let Some(postmaster) = started else {
            panic!("PostgreSQL did not start again: {}", log_of(&self.dir));
        };
        *self.running() = Some(postmaster);
    }

    /// SIGSTOP to the whole server.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        if let Some(postmaster) = self.running().as_ref() {
            signal(name, &[postmaster.pid]);
            signal(name, &children_of(postmaster.pid));
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Session {
    psql: Child,
    said: BufReader<ChildStdout>,
}

impl Session {
    /// Returns when it is done.
    pub fn run(&mut self, sql: &str) {
        const DONE: &str = "this was run";
        let mut stdin = self.psql.stdin.as_ref().expect("piped");
        writeln!(stdin, "{sql};\n\\echo {DONE}").expect("psql reads");
        let mut lines = self.said.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line == DONE), "{sql}: psql has ended");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its input is the end of its connection.
        self.psql.stdin.take();
        let _ = self.psql.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// On the path, else the newest that Debian installed.
fn bin_dir() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let installed = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    let mut places = versions.into_iter().rev().chain(on_path);
    places
        .find(|dir| dir.join("initdb").exists() && dir.join("psql").exists())
        .expect("PostgreSQL is installed (Debian package: postgresql)")
}

fn make_dir() -> (PathBuf, Janitor) {
    let dir = tempfile::Builder::new()
        .prefix("usher-postgres-")
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
        run(Command::new("chown").arg("postgres:").arg(&dir));
    }
    (dir, Janitor(janitor))
}

/// Ordered by the rules of a language, which ids must not follow.
fn initdb(bin: &Path, dir: &Path) {
    let mut initdb = as_server(&bin.join("initdb"));
    initdb
        .arg("-D")
        .arg(dir.join("data"))
        .args(["-U", USER, "-A", "trust", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--locale-provider=icu", "--icu-locale=en-US"]);
    run(&mut initdb);
}

/// `None` if it ended before it was ready: its port may be taken.
fn spawn(
    bin: &Path,
    dir: &Path,
    addr: SocketAddr,
    settings: &'static [&'static str],
) -> Option<Postmaster> {
    let mut server = as_server(&bin.join("postgres"));
    server.arg("-D").arg(dir.join("data"));
    let port = format!("port={}", addr.port());
    let every = [
        "listen_addresses=127.0.0.1",
        port.as_str(),
        "unix_socket_directories=",
        "max_connections=1000",
        "shared_buffers=64MB",
        "autovacuum=off",
        // Looks for deadlocks sooner than after a second.
        "deadlock_timeout=20ms",
    ];
    for setting in every.iter().chain(settings) {
        server.args(["-c", *setting]);
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
        let mut child = server.spawn().expect("PostgreSQL starts");
        let pid = child.id();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        // Read when a start fails, and to know what was asked.
        let mut told = std::fs::File::create(&log).expect("a log");
        for line in stderr.lines().map_while(Result::ok) {
            let _ = writeln!(told, "{line}");
            if READY.iter().any(|ready| line.contains(ready)) {
                let _ = started.try_send(pid);
            }
        }
        let _ = child.wait();
    });
    let pid = ready.recv_timeout(START_PATIENCE).ok()?;
    Some(Postmaster { pid, ended })
}

/// PostgreSQL refuses root: there it runs as its own user.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--").arg(program);
    // Where it runs must be a directory that it may read.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

fn free_addr() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// The direct children of a process.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("a list of processes");
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}

fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    // Some may have ended meanwhile.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program that runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}{complaint}");
    told
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}
