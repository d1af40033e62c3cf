//! The `usher` program as an operator meets it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use usher::clock::SystemClock;
use usher::store::rooms::RoomRegistry as _;
use usher::store::sales::{Catalog as _, Page};
use usher::store::sql::SqlStore;

#[path = "binary/mariadb.rs"]
mod mariadb;
#[path = "binary/postgresql.rs"]
mod postgresql;
#[path = "binary/worker.rs"]
mod worker;

fn usher(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    // Nothing of the tester's own environment.
    command.env_clear().env("USHER_DATA_DIR", data_dir);
    command
}

fn finish(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server; killed if a test gives up on it.
struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    /// Waits until the process has as many files open as it may.
    fn uses_all_files(&self, files_max: usize) {
        let open = format!("/proc/{}/fd", self.child.id());
        for _ in 0..1_000_000 {
            if std::fs::read_dir(&open).expect("its files").count() >= files_max {
                return;
            }
            std::thread::yield_now();
        }
        panic!("it never had {files_max} files open");
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line).expect("one JSON object");
        Self { child, ready }
    }

    fn address(&self) -> &str {
        self.ready["address"].as_str().expect("an address")
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("connected");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("set");
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    /// SIGTERM; answers the exit code.
    fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_starts_without_configuration_says_where_and_stops_when_told() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    let server = Server::start(command.env_clear().env("HOME", home.path()));
    let data_dir = server.ready["data_dir"].as_str().expect("a path");
    assert!(Path::new(data_dir).starts_with(home.path()), "{data_dir}");
    assert!(server.get("/readyz").ends_with("ready\n"));
    assert!(server.get("/").contains("<title>Usher"));
    let keys: Value = {
        let answer = server.get("/.well-known/jwks.json");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).expect("a JWKS")
    };
    assert_eq!(keys["keys"][0]["alg"], "EdDSA");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_ready_line_is_text_when_text_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = usher(dir.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert!(line.starts_with("usher is ready on 127.0.0.1:"), "{line}");
}

#[test]
fn a_lack_of_open_files_does_not_end_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("sh");
    command
        .env_clear()
        .env("USHER_DATA_DIR", dir.path())
        // More than there are files: the kernel refuses, not our own limit.
        .env("USHER_TRANSPORT__CONNECTIONS_MAX", "1000")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_usher"));
    let server = Server::start(&mut command);
    let crowd: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(server.address()).expect("in the backlog"))
        .collect();
    server.uses_all_files(64);
    drop(crowd);
    assert!(server.get("/livez").ends_with("live\n"));
    let metrics = server.get("/metrics");
    assert!(metrics.contains("usher_outbox_pending"), "{metrics}");
    let errors = metrics
        .lines()
        .find_map(|line| line.strip_prefix("usher_connections_accept_errors_total "))
        .expect("the metric");
    assert_ne!(errors, "0", "the limit was met");
}

#[test]
fn bad_configuration_is_refused_by_its_key_with_64() {
    let dir = tempfile::tempdir().expect("a directory");
    for (arguments, key) in [
        (["--redis-url", "redis://r"], "redis_url"),
        (["--kafka-brokers", "k"], "kafka_brokers"),
        (["--database-url", "oracle://o/d"], "database_url"),
        (["--listen", "0.0.0.0:0"], "auth.mode"),
        (["--config", "/does/not/exist"], "config"),
    ] {
        let output = finish(usher(dir.path()).arg("serve").args(arguments));
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{key}: ")), "{arguments:?}: {said}");
    }
    let output = finish(usher(dir.path()).arg("worker"));
    assert_eq!(output.status.code(), Some(64), "a worker needs brokers");
    assert!(text(&output.stderr).contains("kafka_brokers: "));
    let output = finish(usher(dir.path()).env("USHER_LOG__FILTER", "usher=loud,,="));
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("log.filter: "));
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let dir = tempfile::tempdir().expect("a directory");
    for wrong in [vec!["dance"], vec!["token"], vec!["--listen", "here"]] {
        let output = finish(usher(dir.path()).args(&wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let output = finish(usher(dir.path()).arg("--help"));
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for word in ["serve", "migrate", "--data-dir", "USHER_LISTEN", "browser"] {
        assert!(help.contains(word), "{help}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_a_failure_that_names_it_and_keeps_no_lease() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let output = finish(usher(dir.path()).args(["serve", "--listen", &address]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&address));
    let url = format!("sqlite://{}/usher.sqlite", dir.path().display());
    let sql = SqlStore::connect(&url, Arc::new(SystemClock)).await;
    let lease = sql.expect("opened").lease("embedded-queue", 1, 1_000).await;
    assert_eq!(lease, Ok(()), "the next start need not wait");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_serves_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&mut usher(dir.path()));
    let output = finish(usher(dir.path()).args(["--listen", "127.0.0.1:0"]));
    assert_eq!(output.status.code(), Some(64));
    let said = text(&output.stderr);
    assert!(said.contains("redis_url: another process serves"), "{said}");
    assert!(server.get("/readyz").ends_with("ready\n"));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_configuration_can_be_read_back_without_secrets() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = finish(usher(dir.path()).args(["config", "--listen", "127.0.0.1:7"]));
    let shown = text(&output.stdout);
    assert!(shown.contains("listen = \"127.0.0.1:7\""), "{shown}");
    let file = dir.path().join("usher.toml");
    std::fs::write(&file, &shown).expect("written");
    let again = finish(usher(dir.path()).arg("config").arg("--config").arg(&file));
    assert_eq!(text(&again.stdout), shown);
    let defaults = finish(usher(dir.path()).args(["config", "--defaults"]));
    assert!(text(&defaults.stdout).contains("# Every setting of Usher with its default."));
}

#[test]
fn the_schema_goes_up_and_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let migrate = |action| {
        let output = finish(usher(dir.path()).args(["migrate", action]));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(!migrate("status").contains("applied"));
    assert!(!migrate("up").contains("pending"));
    assert_eq!(migrate("down").matches("pending").count(), 1);
}

#[test]
fn keys_are_made_on_the_first_start_listed_and_rotated() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = finish(usher(dir.path()).args(["keys", "list"]));
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(Server::start(&mut usher(dir.path())).terminate(), Some(0));
    let list = |arguments: &[&str]| {
        let output = finish(usher(dir.path()).arg("keys").args(arguments));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let before = list(&["list"]).lines().count();
    assert!(before > 0);
    let rotated = list(&["rotate", "--lead", "1h"]);
    assert_eq!(rotated.lines().count(), 2 * before, "{rotated}");
    let token = finish(usher(dir.path()).args(["token", "--user", "alice", "--ttl", "5m"]));
    assert_eq!(text(&token.stdout).trim().split('.').count(), 3);
}

#[test]
fn a_health_check_knows_a_server_that_is_there_from_one_that_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&mut usher(dir.path()));
    let address = server.address().to_owned();
    let check = || finish(usher(dir.path()).args(["healthcheck", "--listen", &address]));
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(check().status.code(), Some(1));
}

const CATALOG: &str = r#"{"concerts": [{
  "id": "aurora", "name": "Aurora Strings",
  "performances": [{
    "id": "aurora-1",
    "starts_at": "2090-05-01T19:30:00Z", "sale_opens_at": "2020-03-01T10:00:00Z",
    "currency": "EUR",
    "sections": [{"name": "Stalls", "price_minor": 6500, "rows": 5, "seats_per_row": 10}]
  }],
  "room": {"id": "aurora", "capacity": 50, "rate_per_s": 50}
}]}"#;

/// Concerts, performances and rooms in a stopped server's database.
fn demo_rows(dir: &Path) -> [u64; 3] {
    let url = format!("sqlite://{}/usher.sqlite", dir.display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = SqlStore::connect(&url, Arc::new(SystemClock)).await;
        let store = store.expect("opens");
        // The kill may have come between two migrations.
        store.migrate_up().await.expect("migrated");
        let rooms = store.rooms().await.expect("rooms").len() as u64;
        let concerts = store
            .concerts(Page::new(100, None))
            .await
            .expect("concerts");
        let mut performances = 0;
        for concert in &concerts.items {
            let of = store.performances(concert.id.clone(), Page::new(100, None));
            performances += of.await.expect("performances").items.len() as u64;
        }
        [concerts.items.len() as u64, performances, rooms]
    })
}

/// Kills a first start once its journal has grown to a number of bytes.
fn kill_at(dir: &Path, journal_bytes: u64) {
    let mut child = usher(dir)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let journal = dir.join("usher.sqlite-wal");
    while std::fs::metadata(&journal).map_or(0, |of| of.len()) < journal_bytes {
        assert!(child.try_wait().expect("a child").is_none(), "it ended");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("it ended");
}

#[test]
fn a_demo_whose_making_was_killed_is_made_whole_by_the_next_start() {
    let mut cut_short = 0;
    for journal_bytes in [300_000, 600_000, 1_200_000, 2_400_000] {
        let dir = tempfile::tempdir().expect("a directory");
        kill_at(dir.path(), journal_bytes);
        cut_short += u32::from(demo_rows(dir.path()) == [0, 0, 0]);
        let server = Server::start(&mut usher(dir.path()));
        assert_eq!(server.terminate(), Some(0));
        assert_eq!(demo_rows(dir.path()), [3, 15, 3], "at {journal_bytes}");
    }
    assert!(cut_short > 0, "no kill came before the demo was there");
}

/// A data directory with one concert behind one room.
fn seeded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("catalog.json");
    std::fs::write(&file, CATALOG).expect("written");
    let output = finish(usher(dir.path()).args(["seed", "--file"]).arg(&file));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "created 1 concerts, 1 performances, 1 rooms\n"
    );
    dir
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_catalog_is_seeded_once_and_not_under_a_running_server() {
    let dir = seeded();
    let file = dir.path().join("catalog.json");
    let again = || finish(usher(dir.path()).args(["seed", "--file"]).arg(&file));
    assert!(done(&again()).starts_with("created 0 concerts"));
    let server = Server::start(&mut usher(dir.path()));
    let refused = again();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a server is running"));
    assert_eq!(server.terminate(), Some(0));
    std::fs::write(&file, "{}").expect("written");
    let refused = again();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("concerts"));
}

#[test]
fn an_audit_needs_a_database_and_names_its_checks() {
    let empty = tempfile::tempdir().expect("a directory");
    let missing = finish(usher(empty.path()).arg("audit"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("there is no database at"));
    let dir = seeded();
    let report = done(&finish(usher(dir.path()).arg("audit")));
    assert!(report.lines().count() > 3, "{report}");
    assert!(!report.contains("BROKEN"), "{report}");
}

#[test]
fn what_is_no_history_fails_its_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("history.jsonl");
    std::fs::write(&file, "no history\n").expect("written");
    let output = finish(usher(dir.path()).arg("check").arg(&file));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("history.jsonl"));
}

#[test]
fn an_operator_sees_makes_and_pauses_rooms() {
    let dir = seeded();
    let server = Server::start(&mut usher(dir.path()));
    let room = |arguments: &[&str]| {
        let target = ["--target", server.address()];
        finish(usher(dir.path()).arg("room").args(target).args(arguments))
    };
    // A room opens with a tick of the server; many more pass while we ask.
    let is_open = (0..500).any(|_try| {
        let listed = done(&room(&["list"]));
        assert!(listed.contains("aurora"), "{listed}");
        listed.contains("OPEN")
    });
    assert!(is_open);
    done(&room(&["pause", "aurora", "--message", "a short break"]));
    let state = |output: &Output| -> Value {
        serde_json::from_str(&done(output)).expect("one JSON object")
    };
    let shown = state(&room(&["show", "aurora", "--json"]));
    assert_eq!(shown["state"], "PAUSED");
    assert_eq!(shown["message"], "a short break");
    let until = ["pause", "aurora", "--resumes-at", "2099-01-01T00:00:00Z"];
    done(&room(&until));
    let shown = state(&room(&["show", "aurora", "--json"]));
    assert_eq!(shown["resumes_at"], "2099-01-01T00:00:00Z");
    done(&room(&["resume", "aurora"]));
    let made = [
        "create",
        "--name=Second night",
        "--capacity=7",
        "--rate=0.5",
        "--json",
    ];
    let made = state(&room(&made));
    let id = made["id"].as_str().expect("an id");
    let changed = state(&room(&["update", id, "--capacity", "9", "--json"]));
    assert_eq!(
        (&changed["capacity"], &changed["rate"]),
        (&9.into(), &0.5.into())
    );
    let codes = dir.path().join("codes.txt");
    std::fs::write(&codes, "press-1\npress-2\n").expect("written");
    let codes = format!("--codes-file=press={}", codes.display());
    let laned = state(&room(&["update", id, "--lane=press:3", &codes, "--json"]));
    assert_eq!(laned["lanes"][1]["weight"], 3);
    assert!(!laned.to_string().contains("press-1"));
    let about = [id, "--user=ann", "--reason=a guest", "--json"];
    let granted = state(&room(&[&["grant", "--ttl=5m"], &about[..]].concat()));
    assert_eq!(granted["state"], "ACTIVE");
    let revoked = state(&room(&[&["revoke"], &about[..]].concat()));
    assert_eq!(revoked["state"], "EXPIRED");
    assert_eq!(revoked["number"], granted["number"]);
    assert_eq!(state(&room(&["close", id, "--json"]))["state"], "CLOSED");

    assert_eq!(room(&["create", "--name", "x"]).status.code(), Some(2));
    assert_eq!(room(&["update", "aurora"]).status.code(), Some(2));
    let unknown = room(&["update", "aurora", "--protect-campaign", "no-such-campaign"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no-such-campaign"));
    let unknown = room(&["pause", "nowhere"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("NotFound"));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_crowd_goes_through_the_line_and_the_books_are_right() {
    let dir = seeded();
    let server = Server::start(&mut usher(dir.path()));
    let crowd = ["demo", "--users", "5", "--target", server.address()];
    let told = done(&finish(usher(dir.path()).args(crowd)));
    let last = told.lines().last().expect("a summary");
    for part in [
        "joined 5 ",
        "waiting 0 ",
        "turns 5 ",
        "bought 3 ",
        "went 2 ",
    ] {
        assert!(last.contains(part), "{part}: {told}");
    }
    assert!(told.contains("5 users go to room aurora"), "{told}");
    let report = done(&finish(usher(dir.path()).arg("audit")));
    assert!(!report.contains("BROKEN"), "{report}");
    assert_eq!(server.terminate(), Some(0));
    let nobody = ["demo", "--users", "1", "--target", "127.0.0.1:1"];
    let nobody = finish(usher(dir.path()).args(nobody));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no server answers at"));
}
