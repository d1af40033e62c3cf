//! The program on a real MariaDB.

use super::{Server, finish, postgresql::until_ready_is, text, usher};

#[path = "../servers/mariadb.rs"]
mod servers;

/// The whole server on MariaDB: it migrates, sells from its demo catalog, says
/// so when the database is gone, and serves on when it is back.
#[test]
fn it_serves_from_mariadb() {
    let database = servers::MariaDb::start();
    let name = database.create(None);
    let url = database.url(&name);
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = usher(dir.path());
    let server = Server::start(command.args(["--database-url", &url]));
    assert!(server.get("/readyz").ends_with("ready\n"));

    let address = format!("http://{}", server.address());
    let demo = ["demo", "--users", "40", "--target", &address];
    let demo = finish(usher(dir.path()).args(demo));
    assert!(demo.status.success(), "{demo:?}");
    let sold = database.sql(&name, "SELECT COUNT(*) FROM tickets WHERE live = 1");
    assert_ne!(sold.trim(), "0");
    let audit = finish(usher(dir.path()).args(["audit", "--database-url", &url]));
    assert!(audit.status.success(), "{audit:?}");
    assert!(text(&audit.stdout).contains("Q11"), "{audit:?}");

    // A dump beside the server, restored.
    let copy = database.create(Some(&name));
    let restored = database.url(&copy);
    let audit = finish(usher(dir.path()).args(["audit", "--database-url", &restored]));
    assert!(audit.status.success(), "{audit:?}");
    let copied = database.sql(&copy, "SELECT COUNT(*) FROM tickets WHERE live = 1");
    assert_eq!(copied, sold);

    database.kill();
    until_ready_is(&server, false);
    database.restart();
    until_ready_is(&server, true);
    assert_eq!(server.terminate(), Some(0));
    let audit = finish(usher(dir.path()).args(["audit", "--database-url", &url]));
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn migrations_go_up_and_down_by_the_command() {
    let database = servers::shared();
    let name = database.create(None);
    // As MariaDB's own tools write it.
    let url = database.url(&name).replacen("mysql:", "mariadb:", 1);
    let dir = tempfile::tempdir().expect("a directory");
    let migrate = |what: &[&str]| {
        let args = [&["migrate"][..], what, &["--database-url", &url]].concat();
        let done = finish(usher(dir.path()).args(args));
        assert!(done.status.success(), "{done:?}");
        text(&done.stdout)
    };
    assert!(migrate(&["status"]).contains("pending"));
    migrate(&["up"]);
    assert!(!migrate(&["status"]).contains("pending"));
    let applied = database.sql(&name, "SELECT COUNT(*) FROM seaql_migrations");
    migrate(&["down", "--steps", applied.trim()]);
    let tables = database.sql(&name, "SHOW TABLES");
    assert_eq!(tables.trim(), "seaql_migrations");
    migrate(&["up"]);
    assert!(!migrate(&["status"]).contains("pending"));
}

#[test]
fn who_is_not_let_in_is_told_so_without_the_password() {
    let database = servers::shared();
    let url = database.url(&database.create(None));
    let wrong = url.replacen("let-me-in", "pass-of-none", 1);
    assert_ne!(wrong, url);
    let nowhere = "mysql://usher:pass-of-none@127.0.0.1:1/usher";
    let dir = tempfile::tempdir().expect("a directory");
    for url in [wrong.as_str(), nowhere] {
        for command in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["audit"],
            &["config"],
        ] {
            let args = [command, &["--database-url", url]].concat();
            let told = finish(
                usher(dir.path())
                    .env("USHER_LOG__FILTER", "trace")
                    .args(&args),
            );
            assert_eq!(told.status.success(), command == ["config"], "{told:?}");
            let said = text(&told.stdout) + &text(&told.stderr);
            assert!(!said.contains("pass-of-none"), "{said}");
        }
    }
}
