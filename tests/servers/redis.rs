//! Real redis-servers on free loopback ports, in temporary directories.
//!
//! Included by `#[path]` from integration tests and, under `cfg(test)`, from
//! the library. A server that cannot be started fails the test that needs it.
//!
//! Each child is spawned by a thread of its own, which then reads the child's
//! output until it ends: the kernel's death signal (`setpriv --pdeathsig`)
//! follows the *thread* that spawned, and that one lives as long as the child
//! or the test's process. So nothing is left running, however a test ends.
#![allow(dead_code, reason = "each includer uses a part")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use ports::free_port;

#[allow(clippy::duplicate_mod, reason = "each server has it")]
#[path = "ports.rs"]
mod ports;

/// Nothing is saved unless a test says so.
const DEFAULTS: [(&str, &str); 4] = [
    ("bind", "127.0.0.1"),
    ("save", ""),
    ("enable-debug-command", "yes"),
    ("repl-diskless-sync-delay", "0"),
];
const PORTS_TRIED: usize = 20;
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Before a test gives up on a state.
const PATIENCE: Duration = Duration::from_secs(120);
const IGNORE_XFSZ: &str = "trap '' XFSZ; exec redis-server \"$@\"";
/// Added to the time of day by what is preloaded.
const CLOCK_SOURCE: &str = include_str!("clock.c");
/// In a server's directory: how far its clock is off.
const CLOCK: &str = "clock";
/// What a server prints once it can be used.
const READY: [&str; 2] = ["Ready to accept connections", "Sentinel ID is"];

/// Waits until `is_so`, with a bound.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let ends_at = Instant::now() + PATIENCE;
    while Instant::now() < ends_at {
        if is_so() {
            return;
        }
        // Never sent to: a pause that ends by itself.
        let (_keep, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
    panic!("it never came to be that {what}");
}

/// One `redis-server`, or a Sentinel.
pub struct RedisServer {
    pub port: u16,
    dir: TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
    tls: bool,
    child: Option<Child>,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl RedisServer {
    /// Without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings as in redis.conf: `("appendonly", "yes")`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::first(|_, port| {
            let port = port.to_string();
            let mut args = args_of(&DEFAULTS);
            args.extend(args_of(&[("port", port.as_str())]));
            args.extend(args_of(settings));
            args
        })
    }

    /// Its clock can be set, by [`Self::shift_clock`].
    pub fn start_with_a_clock() -> Self {
        Self::first_with(
            |_, port| {
                let mut args = args_of(&DEFAULTS);
                args.extend(args_of(&[("port", &port.to_string())]));
                args
            },
            |dir| {
                let clock = dir.join(CLOCK);
                std::fs::write(&clock, "+0").expect("written");
                let library = build_clock(dir);
                let env = [("LD_PRELOAD", library), ("CLOCK_FILE", clock)];
                let env = env.map(|(name, file)| (name.to_owned(), file.display().to_string()));
                env.to_vec()
            },
        )
    }

    /// From now on its clock is so many seconds ahead, or behind.
    pub fn shift_clock(&self, seconds: i64) {
        let next = self.dir().join("next");
        std::fs::write(&next, format!("{seconds:+}")).expect("written");
        std::fs::rename(&next, self.dir().join(CLOCK)).expect("replaced whole");
    }

    /// Speaks TLS only; `certificate` and `key` are files in PEM.
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        let (certificate, key) = (certificate.to_string(), key.to_string());
        let mut server = Self::first(|_, port| {
            let mut args = args_of(&DEFAULTS);
            args.extend(args_of(&[
                ("port", "0"),
                ("tls-port", &port.to_string()),
                ("tls-cert-file", &certificate),
                ("tls-key-file", &key),
                ("tls-ca-cert-file", &certificate),
                ("tls-auth-clients", "no"),
            ]));
            args
        });
        server.tls = true;
        server
    }

    /// Follows `master` once it is in sync.
    pub fn start_replica(master: &Self, settings: &[(&str, &str)]) -> Self {
        let master_port = format!("127.0.0.1 {}", master.port);
        let mut all = vec![("replicaof", master_port.as_str())];
        all.extend(settings);
        let replica = Self::start_with(&all);
        until("the replica is in sync", || {
            replica
                .cli(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        replica
    }

    /// With these lines of sentinel.conf.
    pub fn start_sentinel(lines: &str) -> Self {
        Self::first(|dir, port| {
            let file = dir.join("sentinel.conf");
            std::fs::write(&file, format!("port {port}\n{lines}")).expect("written");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        })
    }

    fn first(args: impl Fn(&Path, u16) -> Vec<String>) -> Self {
        Self::first_with(args, |_| Vec::new())
    }

    fn first_with(
        args: impl Fn(&Path, u16) -> Vec<String>,
        env: impl Fn(&Path) -> Vec<(String, String)>,
    ) -> Self {
        for _ in 0..PORTS_TRIED {
            let dir = tempfile::tempdir().expect("a directory");
            let port = free_port();
            let mut server = Self {
                args: args(dir.path(), port),
                port,
                dir,
                env: Vec::new(),
                tls: false,
                child: None,
            };
            server.env = env(server.dir.path());
            if server.run() {
                return server;
            }
        }
        panic!("redis-server does not start: is it installed?");
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        if self.tls {
            command.args(["--tls", "--insecure"]);
        }
        let output = command
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Meanwhile the caller goes on.
    pub fn cli_aside(&self, args: &[&str]) -> Aside {
        let child = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Aside(child.expect("redis-cli runs"))
    }

    /// One line of `INFO`, without its name.
    pub fn info(&self, field: &str) -> String {
        let all = self.cli(&["INFO", "everything"]);
        let line = all
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error says that it ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// kill -STOP: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// kill -CONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "{signal} was not sent");
    }

    /// No file of it may grow beyond so many bytes: its disk is full.
    pub fn limit_files(&self, bytes: &str) {
        let child = self.child.as_ref().expect("it runs");
        let limit = format!("--fsize={bytes}:");
        let set = Command::new("prlimit")
            .args(["--pid", &child.id().to_string(), &limit])
            .status();
        assert!(set.expect("prlimit runs").success(), "no limit was set");
    }

    /// Waits until it has ended by itself.
    pub fn await_end(&mut self) {
        let mut child = self.child.take().expect("it runs");
        until("the server has ended", || {
            child.try_wait().expect("a state").is_some()
        });
    }

    /// Starts again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "port {} is taken", self.port);
    }

    /// False: it ended before it was ready.
    fn run(&mut self) -> bool {
        // A write beyond the largest file allowed is an error, and not the end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "/bin/sh", "-c", IGNORE_XFSZ, "sh"])
            .envs(self.env.iter().cloned())
            .args(&self.args)
            .args(args_of(&[("dir", &self.dir.path().to_string_lossy())]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (is_ready, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv and redis-server run");
            let output = child.stdout.take().expect("piped");
            let mut child = Some(child);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if child.is_some() && READY.iter().any(|ready| line.contains(ready)) {
                    // Nobody waits for it any more: it is killed with this thread.
                    let _ = is_ready.send(child.take().expect("still here"));
                }
            }
            if let Some(mut child) = child {
                let _ = child.wait();
            }
        });
        self.child = ready.recv_timeout(START_PATIENCE).ok();
        self.child.is_some()
    }
}

/// A `redis-cli` that is still running.
pub struct Aside(Child);

impl Aside {
    /// What it printed, once it has ended.
    pub fn ended(self) -> String {
        let output = self.0.wait_with_output().expect("its output");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// By the C compiler that linking Rust needs too.
fn build_clock(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, CLOCK_SOURCE).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.expect("cc runs").success(), "the clock was not built");
    library
}

/// Settings as arguments.
fn args_of(settings: &[(&str, &str)]) -> Vec<String> {
    let mut args = Vec::new();
    for (name, value) in settings {
        args.push(format!("--{name}"));
        match value.is_empty() {
            true => args.push(String::new()),
            false => args.extend(value.split(' ').map(str::to_owned)),
        }
    }
    args
}

/// A master with a replica, and three Sentinels that watch them.
pub struct Sentinels {
    pub master: RedisServer,
    pub replica: RedisServer,
    pub sentinels: Vec<RedisServer>,
}

/// The name under which the Sentinels know their master.
pub const MASTER: &str = "rooms";

impl Sentinels {
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica = RedisServer::start_replica(&master, &[]);
        let sentinels: Vec<_> = (0..3).map(|_| sentinel(&master)).collect();
        let all = Self {
            master,
            replica,
            sentinels,
        };
        until("the Sentinels know each other and the replica", || {
            all.sentinels.iter().all(|sentinel| {
                let known = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
                fact(&known, "num-other-sentinels") == "2" && fact(&known, "num-slaves") == "1"
            })
        });
        all
    }

    /// The port of the master as the first Sentinel has it.
    pub fn master_port(&self) -> u16 {
        let answer = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = answer.lines().nth(1).unwrap_or_default();
        port.parse().expect("a port")
    }

    /// Waits until all Sentinels name the replica as master.
    pub fn await_failover(&self) {
        until("the replica was promoted", || {
            self.sentinels.iter().all(|sentinel| {
                sentinel
                    .cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])
                    .contains(&self.replica.port.to_string())
            }) && self.replica.info("role") == "master"
        });
    }

    /// `redis+sentinel://a,b,c/rooms`
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(address).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }
}

/// The value that follows `name` in a flat answer.
pub fn fact(answer: &str, name: &str) -> String {
    let mut lines = answer.lines().skip_while(|line| *line != name);
    lines.nth(1).unwrap_or_default().to_owned()
}

fn address(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port)
}

fn sentinel(master: &RedisServer) -> RedisServer {
    let master_port = master.port;
    RedisServer::start_sentinel(&format!(
        "sentinel monitor {MASTER} 127.0.0.1 {master_port} 2\n\
         sentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 5000\n"
    ))
}

/// Three masters, each with a replica.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..6).map(|_| cluster_node()).collect();
        let addresses: Vec<_> = nodes.iter().map(address).collect();
        Self::of(nodes, &addresses)
    }

    /// Of nodes that reach each other by these addresses.
    pub fn of(nodes: Vec<RedisServer>, addresses: &[String]) -> Self {
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs");
        let said = String::from_utf8_lossy(&created.stdout);
        assert!(created.status.success(), "no cluster: {said}");
        let cluster = Self { nodes };
        until("every node is part of a whole cluster", || {
            cluster.nodes.iter().all(|node| {
                node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && (node.info("role") == "master" || node.info("master_link_status") == "up")
            }) && cluster.masters().len() == 3
        });
        cluster
    }

    /// Those that serve slots now.
    pub fn masters(&self) -> Vec<&RedisServer> {
        let runs = self.nodes.iter().filter(|node| node.child.is_some());
        runs.filter(|node| node.info("role") == "master").collect()
    }

    /// `redis+cluster://a,b,c…`
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(address).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

pub fn cluster_node() -> RedisServer {
    RedisServer::first(|_, port| {
        // By default ten thousand above the port: that may be someone's.
        let bus = free_port();
        let mut args = args_of(&DEFAULTS);
        args.extend(args_of(&[
            ("port", &port.to_string()),
            ("cluster-port", &bus.to_string()),
            ("cluster-enabled", "yes"),
            ("cluster-node-timeout", "2000"),
        ]));
        args
    })
}
