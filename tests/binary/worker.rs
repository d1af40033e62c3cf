//! `usher worker` as an operator meets it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{Server, usher};

/// No broker there: its events wait, and it can be watched and stopped.
#[test]
fn a_worker_without_a_broker_is_ready_is_watched_and_stops_when_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = usher(dir.path())
        .args(["worker", "--kafka-brokers", "127.0.0.1:9"])
        .args(["--ops-listen", "127.0.0.1:0", "--log-format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let mut ready: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(ready["consumers"], serde_json::json!(["sales", "ranking"]));
    ready["address"] = ready["ops_address"].clone();
    let worker = Server { child, ready };
    assert!(worker.get("/livez").ends_with("live\n"));
    assert!(worker.get("/readyz").ends_with("ready\n"));
    let metrics = worker.get("/metrics");
    for metric in ["usher_consumer_lag", "usher_consumer_parked 0"] {
        assert!(metrics.contains(metric), "{metric}: {metrics}");
    }
    assert_eq!(worker.terminate(), Some(0));
}
