//! Nodes die, and are replaced, while crowds are in line.

use std::time::Duration;

use usher::truth::failpoint::Point;

use crate::crowd::{Crowd, CrowdPlan};
use crate::fleet::{Berth, Fleet};
use crate::redis::RedisServer;

const NODES: usize = 3;
/// More by the environment.
const RESTARTS: usize = 3;
const RESTARTS_ENV: &str = "USHER_TEST_RESTARTS";

async fn fleet(redis: &RedisServer, first: &str) -> Fleet {
    let berth = Berth::at(&redis.url());
    let others = (1..NODES).map(|_| berth.clone());
    Fleet::start([berth.clone().with(first)].into_iter().chain(others)).await
}

fn plan() -> CrowdPlan {
    CrowdPlan {
        users: 90,
        ..CrowdPlan::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_outlasts_a_node_that_is_killed() {
    let redis = RedisServer::start();
    let mut fleet = fleet(&redis, "").await;
    let crowd = Crowd::start(fleet.site(), plan()).await;
    crowd.until_over(20).await;
    let killed = async { fleet.nodes.remove(1).kill().await };
    crowd.fault("a node is killed", killed).await;
    let seen = crowd.finish().await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

/// A node dies in the middle of a turn; the others bring it to its end.
async fn dies_at(point: Point) {
    let redis = RedisServer::start();
    let armed = format!("{}=kill@3", point.name());
    let mut fleet = fleet(&redis, &armed).await;
    let crowd = Crowd::start(fleet.site(), plan()).await;
    let dies = async { fleet.nodes[0].died().await };
    crowd.fault("a node dies at a failpoint", dies).await;
    let seen = crowd.finish().await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_between_the_pick_and_the_row() {
    dies_at(Point::NumbersGranted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_between_the_row_and_its_confirmation() {
    dies_at(Point::RowsCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_outlasts_rolling_restarts() {
    let told = std::env::var(RESTARTS_ENV).ok();
    let restarts: usize = told.map_or(RESTARTS, |text| text.parse().expect("a number"));
    let redis = RedisServer::start();
    let mut fleet = fleet(&redis, "").await;
    let site = fleet.site();
    let plan = CrowdPlan {
        users: 60 + 30 * restarts,
        arrivals: Duration::from_secs(3 + 2 * restarts as u64),
        ..CrowdPlan::default()
    };
    let crowd = Crowd::start(site, plan).await;
    let mut stops = Vec::new();
    for restart in 0..restarts {
        crowd.until_over(10 + 20 * restart).await;
        // A stop with crowds on it takes as long as its drain.
        let old = fleet.nodes.remove(0);
        let silent = old.silent_peer().await;
        let replaced = async {
            let berth = Berth::at(&redis.url());
            let (new, ()) = tokio::join!(fleet.launch(&berth), old.terminate());
            crowd.open_door(new.channel.clone());
            fleet.nodes.push(new);
        };
        stops.push(crowd.fault("a node is replaced", replaced).await);
        drop(silent);
    }
    let seen = crowd.finish().await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
    let mut sent_away = 0;
    // Nodes are replaced in the order of their doors.
    for (door, stop) in stops.into_iter().enumerate() {
        let returns = seen.was_drained(door, stop);
        println!("door {door}: {}, {:?}", returns.told(), returns.refusals);
        assert_eq!(
            returns.resumed,
            returns.after_ms.len(),
            "nobody missed anything"
        );
        sent_away += returns.resumed;
    }
    assert!(sent_away > 0, "someone was there");
}
