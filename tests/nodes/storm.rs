//! All streams are on one node of three, and it is killed: everyone comes back
//! to the others at once, or nearly so: after the first pauses of the contract.

use std::time::Duration;

use tonic::transport::Channel;

use crate::crowd::{Crowd, CrowdPlan, Site};
use crate::fencing::evidence;
use crate::fleet::{Berth, Fleet};
use crate::node::Node;
use crate::redis::RedisServer;

/// More by the environment.
const STREAMS: usize = 300;
const STREAMS_ENV: &str = "USHER_TEST_STORM";
/// Below `transport.streams_per_connection_max`, as other calls use it too.
const STREAMS_PER_CONNECTION: usize = 200;
const JOINS_PER_S: u64 = 300;

async fn connections(node: &Node, streams: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _connection in 0..streams.div_ceil(STREAMS_PER_CONNECTION) {
        channels.push(node.connect().await);
    }
    channels
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_those_who_come_back_finds_every_place() {
    let told = std::env::var(STREAMS_ENV).ok();
    let streams: usize = told.map_or(STREAMS, |text| text.parse().expect("a number"));
    let capacity = u32::try_from(streams / 5).expect("a capacity");
    let redis = RedisServer::start();
    let berth = Berth::at(&redis.url());
    let mut fleet = Fleet::start([berth.clone(), berth.clone(), berth]).await;
    let mut doors = Vec::new();
    for node in &fleet.nodes {
        doors.push(connections(node, streams).await);
    }
    let gone = doors.remove(0);
    let of_each = gone.len();
    let site = Site {
        channels: gone,
        ..fleet.site()
    };
    let plan = CrowdPlan {
        users: streams,
        capacity,
        rate_per_s: 1_000.0,
        arrivals: Duration::from_millis(streams as u64 * 1_000 / JOINS_PER_S),
        stay: Duration::ZERO,
        patience: Duration::from_secs(180 + streams as u64 / 50),
        by_the_book: true,
        starts_paused: true,
        ..CrowdPlan::default()
    };
    let crowd = Crowd::start(site, plan).await;
    crowd.until_streams(&[0], streams).await;
    // A node counts a stream before its client has heard of it.
    crowd.until_told(streams).await;
    let killed = async {
        doors
            .into_iter()
            .flatten()
            .for_each(|door| crowd.open_door(door));
        fleet.nodes.remove(0).kill().await;
        crowd.close_doors(of_each);
    };
    let killed = crowd
        .fault("the node of all streams is killed", killed)
        .await;
    // Once for each node that is left.
    crowd.until_streams(&[0, of_each], streams).await;
    crowd.pause_room(false).await;
    let seen = crowd.finish().await;
    evidence::holds(&fleet, &seen, capacity);
    assert_eq!(seen.epochs(), 1, "nothing was lost");
    let all_doors: Vec<_> = (0..of_each).collect();
    let returns = seen.came_back(&all_doors, killed);
    assert!(returns.refusals.is_empty(), "{:?}", returns.refusals);
    assert_eq!(returns.after_ms.len(), streams);
    assert_eq!(returns.resumed, streams, "nobody missed anything");
    println!("a storm: {}", returns.told());
}
