//! The light client and its measurements against the real server, small.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a command of this program; answers its report, page and output.
fn measured(args: &[&str]) -> (Value, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_usher-bench"));
    let usher = program.with_file_name("usher");
    assert!(
        usher.exists(),
        "build the server first: cargo build --bin usher (cargo test --workspace does)"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let (json, page) = (dir.path().join("run.json"), dir.path().join("run.html"));
    let ran = Command::new(program)
        .args(args)
        .arg("--json")
        .arg(&json)
        .arg("--report")
        .arg(&page)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let failed = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}\n{failed}");
    let json = std::fs::read(json).expect("a report");
    let report = serde_json::from_slice(&json).expect("JSON");
    let page = std::fs::read_to_string(page).expect("a page");
    (report, page, said)
}

/// The cell of a row by the name in its first column.
fn cell<'a>(report: &'a Value, table: &str, row: &str, column: usize) -> &'a Value {
    let tables = report["tables"].as_array().expect("tables");
    let table = tables.iter().find(|one| one["title"] == table);
    let rows = table.expect("the table")["rows"].as_array().expect("rows");
    let row = rows.iter().find(|one| one[0] == row).expect("the row");
    &row[column]
}

#[test]
fn every_stream_gets_every_broadcast_its_turn_and_its_end() {
    let (report, page, _) = measured(&[
        "streams",
        "--spawn",
        "--floor",
        "--connections=10",
        "--streams=10",
        "--idle=1",
        "--rounds=1",
        "--broadcasts=3",
        "--activate=100",
        "--claim-window=5",
        "--seed=7",
    ]);
    assert_eq!(report["broken"], Value::Array(Vec::new()));
    let received = "Messages that streams received";
    let count = |kind| cell(&report, received, kind, 1).as_u64().expect("a count");
    assert_eq!(count("snapshot"), 100);
    assert_eq!(count("activated"), 100);
    assert_eq!(count("ended"), 100);
    // Three, and the end of the pause.
    assert_eq!(count("room_changed"), 400);
    let activations = cell(&report, "Turns and positions", "activation to receipt", 1);
    assert_eq!(activations, 100);
    assert!(page.contains("<svg"), "it has charts");
}

#[test]
fn everyone_who_asks_is_answered_and_everyone_who_listens_stays() {
    let (report, _, _) = measured(&[
        "polling",
        "--watching=40",
        "--spawn",
        "--users=60",
        "--connections=6",
        "--every-ms=300",
        "--duration=2",
        "--warm-up=1",
        "--rounds=1",
        "--seed=7",
    ]);
    assert_eq!(report["broken"], Value::Array(Vec::new()));
    let table = "A waiting user's minute, server and Redis";
    for line in ["polling", "GetPlace", "Watch"] {
        let told = &cell(&report, table, line, 3)["median"];
        assert!(told.as_f64().is_some_and(|told| told > 0.0), "{line}");
    }
}

#[test]
fn every_freed_slot_is_the_next_ones_turn() {
    let (report, _, _) = measured(&[
        "activation",
        "--spawn",
        "--connections=10",
        "--streams=20",
        "--active=10",
        "--turns=30",
        "--rate=30",
        "--rounds=2",
        "--seed=7",
    ]);
    assert_eq!(report["broken"], Value::Array(Vec::new()));
    let table = &report["tables"][0]["rows"];
    assert_eq!((&table[0][1], &table[1][1]), (&30.into(), &30.into()));
}

#[test]
fn everyone_comes_back_to_a_server_that_was_killed() {
    let (report, _, _) = measured(&[
        "reconnect",
        "restart",
        "--spawn",
        "--connections=10",
        "--streams=20",
        "--seed=7",
    ]);
    assert_eq!(report["broken"], Value::Array(Vec::new()));
    let title = "From the loss to the first state on a new stream";
    assert_eq!(cell(&report, title, "back", 1), 200);
}

#[test]
fn every_campaign_grants_exactly_its_stock() {
    for more in [&["--in-flight=32"][..], &["--rate=400", "--jwt"]] {
        let mut args = vec![
            "coupons",
            "--spawn",
            "--users=60",
            "--stock=20",
            "--campaigns=3",
            "--connections=4",
            "--seed=7",
        ];
        args.extend(more);
        let (report, page, _) = measured(&args);
        assert_eq!(report["broken"], Value::Array(Vec::new()));
        assert_eq!(cell(&report, "Requests, ms", "granted", 1), 60);
        assert_eq!(cell(&report, "Requests, ms", "sold out", 1), 120);
        let issued = "campaigns that issued exactly that";
        assert_eq!(cell(&report, "Checked", issued, 1), 3);
        assert_eq!(cell(&report, "Checked", "users' lists compared", 1), 60);
        assert!(page.contains("<svg"), "it has charts");
    }
}
