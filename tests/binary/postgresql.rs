//! The program on a real PostgreSQL.

use std::time::Duration;

use tokio::time::Instant;

use super::{Server, finish, text, usher};

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[path = "../servers/postgres.rs"]
mod postgres;

/// The whole server on PostgreSQL: it migrates, sells from its demo catalog,
/// says so when the database is gone, and serves on when it is back.
#[test]
fn it_serves_from_postgresql() {
    let database = postgres::Postgres::start();
    let name = database.create(None);
    let url = database.url(&name);
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = usher(dir.path());
    let server = Server::start(command.args(["--database-url", &url]));
    assert!(server.get("/readyz").ends_with("ready\n"));

    // The embedded queue has one owner, whatever the database.
    let second_dir = tempfile::tempdir().expect("a directory");
    let mut second = usher(second_dir.path());
    let second = finish(second.args(["--listen", "127.0.0.1:0", "--database-url", &url]));
    assert_eq!(second.status.code(), Some(64));
    assert!(text(&second.stderr).contains("redis_url"), "{second:?}");

    let address = format!("http://{}", server.address());
    let demo = ["demo", "--users", "40", "--target", &address];
    let demo = finish(usher(dir.path()).args(demo));
    assert!(demo.status.success(), "{demo:?}");
    let sold = database.sql(&name, "SELECT COUNT(*) FROM tickets WHERE live = 1");
    assert_ne!(sold.trim(), "0");
    let audit = finish(usher(dir.path()).args(["audit", "--database-url", &url]));
    assert!(audit.status.success(), "{audit:?}");

    database.kill();
    until_ready_is(&server, false);
    database.restart();
    until_ready_is(&server, true);
    assert_eq!(server.terminate(), Some(0));
    let status = finish(usher(dir.path()).args(["migrate", "status", "--database-url", &url]));
    assert!(!text(&status.stdout).contains("pending"), "{status:?}");
}

pub fn until_ready_is(server: &Server, ready: bool) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if server.get("/readyz").ends_with("ready\n") == ready {
            return;
        }
    }
    panic!("readiness never became {ready}");
}

/// 32 bytes, as `openssl rand -base64 32` writes them.
const WRAP_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_WRAP_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// Keys outlive the data directory of the node that made them, a rotation
/// reaches a running server, and a node with another wrap key does not start.
#[test]
fn signing_keys_are_shared_through_the_database() {
    let database = postgres::Postgres::start();
    let url = database.url(&database.create(None));
    let node = |dir: &tempfile::TempDir, wrap_key: &str| {
        let mut command = usher(dir.path());
        command
            .env("USHER_DATABASE_URL", &url)
            .env("USHER_KEYS__SOURCE", "sql")
            .env("USHER_KEYS__REREAD_MS", "100")
            .env("USHER_KEYS__WRAP_KEY", wrap_key);
        command
    };
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let first = Server::start(&mut node(&dirs[0], WRAP_KEY));
    let made = jwks(&first);
    assert_eq!(first.terminate(), Some(0));

    let second = Server::start(&mut node(&dirs[1], WRAP_KEY));
    assert_eq!(jwks(&second), made);
    let rotate = ["keys", "rotate", "--lead", "60s"];
    let rotated = finish(node(&dirs[0], WRAP_KEY).args(rotate));
    assert!(rotated.status.success(), "{rotated:?}");
    let mut published = made.clone();
    let until = Instant::now() + PATIENCE;
    while published == made && Instant::now() < until {
        published = jwks(&second);
    }
    assert_eq!(published.matches("\"kid\"").count(), 2, "{published}");
    assert!(!dirs[0].path().join("keys.json").exists());

    let stranger = finish(node(&dirs[0], OTHER_WRAP_KEY).args(["--listen", "127.0.0.1:0"]));
    assert_eq!(stranger.status.code(), Some(1));
    let why = text(&stranger.stderr);
    assert!(
        why.contains("was not wrapped by this node's wrap key"),
        "{why}"
    );
    let rotate = finish(node(&dirs[0], OTHER_WRAP_KEY).args(rotate));
    assert_eq!(rotate.status.code(), Some(1));
}

fn jwks(server: &Server) -> String {
    let answer = server.get("/.well-known/jwks.json");
    answer.split("\r\n\r\n").nth(1).expect("a body").to_owned()
}
