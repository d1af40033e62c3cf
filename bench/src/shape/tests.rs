//! Shapes end to end, small, on a server of this process.

use std::net::SocketAddr;

use clap::Parser;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use usher::app::node::Node;
use usher::app::stores::Stores;
use usher::app::{App, wiring};
use usher::config::{Flags, Sources};

use super::{Options, run};
use crate::error::BenchError;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Serves until the sender is gone.
async fn serve(
    data_dir: std::path::PathBuf,
    told: oneshot::Sender<SocketAddr>,
    stop: oneshot::Receiver<()>,
) {
    let flags = Flags::from([
        ("listen", "127.0.0.1:0".to_owned()),
        ("data_dir", data_dir.display().to_string()),
    ]);
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    let config = sources.load().expect("settings");
    let stores = Stores::open(&config).await.expect("stores");
    let node = Node::start(&config, &stores).await.expect("a node");
    let services = wiring::services(&config, &stores, &node).await;
    let app = App::build(config, services.expect("services"), stores.metrics.clone());
    let bound = app.await.expect("an app").bind().await.expect("a port");
    told.send(bound.addr()).expect("the test listens");
    let stopped = bound.run(async { drop(stop.await) }).await;
    node.stop(stopped.time_left()).await;
}

/// Runs a shape with these flags; its JSON, and how the command ended.
async fn replay(flags: &[&str]) -> (Value, Result<(), BenchError>) {
    let dir = tempfile::tempdir().expect("a directory");
    let ((tell, told), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
    let mut server = JoinSet::new();
    server.spawn(serve(dir.path().join("data"), tell, stopped));
    let addr = told.await.expect("it serves").to_string();
    let json = dir.path().join("found.json");
    let file = json.display().to_string();
    let line = ["shape", "--target", &addr, "--json", &file];
    let options = Line::parse_from(line.iter().chain(flags)).options;
    let ended = run(options).await;
    drop(stop);
    server.join_all().await;
    let text = std::fs::read_to_string(json).expect("it wrote");
    let found: Value = serde_json::from_str(&text).expect("an object");
    (found, ended)
}

/// Whether what is counted is as promised; a machine that is slow enough for
/// DEGRADED may break it.
fn is_kept(found: &Value) -> bool {
    found["broken"].as_array().expect("promises").is_empty()
}

/// What is in the last column of a row of the first step.
fn ours<'a>(found: &'a Value, row: &str) -> &'a Value {
    let rows = found["tables"][1]["rows"].as_array().expect("rows");
    let row = rows.iter().find(|cells| cells[0] == row);
    &row.expect("a row")[2]
}

fn count(found: &Value, row: &str) -> u64 {
    ours(found, row).as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_who_polls_in_l4_is_activated() {
    let (found, ended) = replay(&["L4", "--size", "0.01", "--time", "0.02"]).await;
    assert_eq!(ended.is_ok(), is_kept(&found), "{found}");
    assert!(count(&found, "journeys begun") >= 10, "{found}");
    assert_eq!(count(&found, "activated"), count(&found, "journeys begun"));
    let finished = ours(&found, "journeys finished")
        .as_f64()
        .expect("a figure");
    assert!((finished - count(&found, "journeys begun") as f64).abs() < 0.5);
    let rows = found["tables"][1]["rows"].as_array().expect("rows");
    let p95 = rows.iter().find(|cells| cells[0] == "p95, ms");
    assert_eq!(p95.expect("a row")[1], 8.0, "theirs stands beside ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_of_l6_all_come() {
    let flags = [
        "L6",
        "--variant",
        "arrivals",
        "--size",
        "0.05",
        "--time",
        "0.05",
    ];
    let (found, ended) = replay(&flags).await;
    assert_eq!(ended.is_ok(), is_kept(&found), "{found}");
    assert_eq!(count(&found, "journeys begun"), 30, "600 a minute, for 3 s");
    assert_eq!(ours(&found, "journeys finished"), 30.0);
    assert_eq!(count(&found, "arrivals dropped"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journeys_that_do_not_end_break_a_promise() {
    let flags = ["L4", "--size", "0.01", "--time", "0.02", "--grace", "0"];
    let (found, ended) = replay(&flags).await;
    assert!(count(&found, "interrupted") > 0, "{found}");
    assert!(!is_kept(&found) && ended.is_err());
}
