//! A real Kafka in KRaft mode on free loopback ports, in a temporary directory:
//! one broker, or three, each also a controller.
//!
//! Included by `#[path]` from integration tests and, under `cfg(test)`, from
//! the library. Its jars are fetched by `.ci/steps/10-tools.sh`; a broker that
//! cannot be started fails the test that needs it.
//!
//! A broker is spawned by a thread that lives as long as it does: the kernel's
//! death signal (`setpriv --pdeathsig`) follows the thread that spawned. A
//! janitor removes the directory when its standard input ends, which is when
//! the cluster is dropped or the test's process is gone.
#![allow(dead_code, reason = "each includer uses a part")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use ports::free_port;

#[allow(clippy::duplicate_mod, reason = "each server has it")]
#[path = "ports.rs"]
mod ports;

/// The same as in `.ci/kafka/pom.xml`.
const JARS: &str = "kafka_2.13-4.1.1";
const CLUSTER_ID: &str = "dXNoZXItdGVzdC1jbHVzdGU";
const READY: &str = "Kafka Server started";
const START_PATIENCE: Duration = Duration::from_secs(180);
const ADMIN_PATIENCE: Duration = Duration::from_secs(60);
const STARTS_TRIED: usize = 5;
/// A broker that dies with its test may still be writing at first.
const JANITOR: &str =
    "cat >/dev/null; rm -rf \"$1\"; [ ! -e \"$1\" ] || { sleep 1; rm -rf \"$1\"; }";
/// Buffers as small as they may be, and no waiting for more members.
const SETTINGS: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.io.buffer.size=65536
log.index.size.max.bytes=65536
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
";

/// A cluster; dropping it kills its brokers and removes their data.
pub struct Kafka {
    dir: PathBuf,
    brokers: Vec<Broker>,
    /// Removes `dir` once its standard input is closed.
    _janitor: Janitor,
}

struct Broker {
    id: usize,
    port: u16,
    /// `None` while it is down.
    running: Option<Running>,
}

struct Running {
    pid: u32,
    /// Closed when the process has ended and all it printed was read.
    ended: Mutex<mpsc::Receiver<()>>,
}

struct Janitor(Child);

impl Drop for Janitor {
    fn drop(&mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

impl Kafka {
    /// One broker.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(1)
    }

    /// Three, which hold every partition all three and go on with two.
    #[must_use]
    pub fn start_three() -> Self {
        Self::launch(3)
    }

    fn launch(count: usize) -> Self {
        let (dir, janitor) = make_dir();
        for _ in 0..STARTS_TRIED {
            let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
            for id in 1..=count {
                configure(&dir, id, &ports);
            }
            let starting: Vec<_> = (1..=count).map(|id| spawn(&dir, id)).collect();
            let running: Vec<_> = starting.into_iter().map(Starting::wait).collect();
            let is_whole = running.iter().all(Option::is_some);
            let brokers = running.into_iter().zip(&ports).enumerate();
            let brokers: Vec<_> = brokers
                .map(|(at, (running, (port, _)))| Broker {
                    id: at + 1,
                    port: *port,
                    running,
                })
                .collect();
            let mut kafka = Self {
                dir: dir.clone(),
                brokers,
                _janitor: Janitor(idle()),
            };
            if is_whole {
                kafka._janitor = janitor;
                return kafka;
            }
        }
        panic!("Kafka did not start: {}", log_of(&dir, 1));
    }

    /// For `kafka_brokers`.
    #[must_use]
    pub fn brokers(&self) -> String {
        let addresses: Vec<_> = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect();
        addresses.join(",")
    }

    /// `kill -9` of the broker at `index`.
    pub fn kill(&mut self, index: usize) {
        if let Some(running) = self.brokers[index].running.take() {
            signal("KILL", running.pid);
            let ended = running.ended.into_inner();
            let ended = ended.unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(START_PATIENCE);
        }
    }

    /// Starts a killed broker on its old ports and data.
    pub fn restart(&mut self, index: usize) {
        self.kill(index);
        let id = self.brokers[index].id;
        let running = spawn(&self.dir, id).wait();
        assert!(running.is_some(), "{}", log_of(&self.dir, id));
        self.brokers[index].running = running;
    }

    pub fn pause(&self, index: usize) {
        self.signal_to("STOP", index);
    }

    pub fn resume(&self, index: usize) {
        self.signal_to("CONT", index);
    }

    fn signal_to(&self, name: &str, index: usize) {
        if let Some(running) = &self.brokers[index].running {
            signal(name, running.pid);
        }
    }

    /// On all brokers; of three, two must have what is acknowledged.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        let count = i32::try_from(self.brokers.len()).expect("few");
        let in_sync = if count == 1 { "1" } else { "2" };
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(count))
            .set("min.insync.replicas", in_sync);
        let made = self.admin().create_topics([&topic], &patient()).await;
        for one in made.expect("an answer") {
            one.expect("a topic");
        }
    }

    pub async fn grow_topic(&self, name: &str, partitions: usize) {
        let grown = NewPartitions::new(name, partitions);
        let made = self.admin().create_partitions([&grown], &patient()).await;
        for one in made.expect("an answer") {
            one.expect("more partitions");
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config.create().expect("a client")
    }
}

fn patient() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ADMIN_PATIENCE))
        .operation_timeout(Some(ADMIN_PATIENCE))
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for index in 0..self.brokers.len() {
            self.kill(index);
        }
    }
}

fn make_dir() -> (PathBuf, Janitor) {
    let dir = tempfile::Builder::new()
        .prefix("usher-kafka-")
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
    (dir, Janitor(janitor))
}

/// Cleans nothing up.
fn idle() -> Child {
    Command::new("true").spawn().expect("a process")
}

/// Ports by broker: for clients, and for controllers.
fn configure(dir: &Path, id: usize, ports: &[(u16, u16)]) {
    let home = home_of(dir, id);
    let data = home.join("data");
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data).expect("a directory");
    let voters: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(at, (_, controller))| format!("{}@127.0.0.1:{controller}", at + 1))
        .collect();
    let (client, controller) = ports[id - 1];
    let copies = ports.len();
    let in_sync = if copies == 1 { 1 } else { 2 };
    let settings = format!(
        "{SETTINGS}node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor={copies}\n\
         transaction.state.log.replication.factor={copies}\n\
         transaction.state.log.min.isr={in_sync}\n\
         min.insync.replicas={in_sync}\n",
        voters = voters.join(","),
        data = data.display(),
    );
    std::fs::write(home.join("server.properties"), settings).expect("settings");
    // What formatting would write, without a second start of the machine.
    let meta = format!(
        "version=1\ncluster.id={CLUSTER_ID}\nnode.id={id}\ndirectory.id=dXNoZXItdGVzdC1kaXIw{id}Q\n"
    );
    std::fs::write(data.join("meta.properties"), meta).expect("a format");
}

fn home_of(dir: &Path, id: usize) -> PathBuf {
    dir.join(format!("broker-{id}"))
}

struct Starting {
    ready: mpsc::Receiver<u32>,
    ended: mpsc::Receiver<()>,
}

impl Starting {
    /// `None` if it ended before it was ready: its port may be taken.
    fn wait(self) -> Option<Running> {
        let pid = self.ready.recv_timeout(START_PATIENCE).ok()?;
        Some(Running {
            pid,
            ended: Mutex::new(self.ended),
        })
    }
}

fn spawn(dir: &Path, id: usize) -> Starting {
    let home = home_of(dir, id);
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "java"])
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-cp", &class_path(), "kafka.Kafka"])
        .arg(home.join("server.properties"))
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let (started, ready) = mpsc::sync_channel(1);
    let (over, ended) = mpsc::sync_channel::<()>(0);
    let log = home.join("log");
    std::thread::spawn(move || {
        let _over = over;
        let mut child = command.spawn().expect("Java starts");
        let pid = child.id();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut told = Vec::new();
        for line in stderr.lines().map_while(Result::ok) {
            if line.contains(READY) {
                let _ = started.try_send(pid);
            }
            if line.contains("ERROR") || line.contains("Exception") {
                told.push(line);
                // Read when a start fails; the rest is for whoever debugs.
                let _ = std::fs::write(&log, told.join("\n"));
            }
        }
        let _ = child.wait();
    });
    Starting { ready, ended }
}

fn class_path() -> String {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home"));
    let cache = cache.unwrap_or_else(|| home().join(".cache"));
    let jars = cache.join("usher-tools").join(JARS);
    let here = jars.join("kafka_2.13-4.1.1.jar");
    assert!(
        here.exists(),
        "{} is missing: run .ci/steps/10-tools.sh",
        here.display()
    );
    format!("{}/*", jars.display())
}

fn signal(name: &str, pid: u32) {
    // It may have ended meanwhile.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
}

fn log_of(dir: &Path, id: usize) -> String {
    std::fs::read_to_string(home_of(dir, id).join("log")).unwrap_or_default()
}
