//! One of eight nodes stands still in the middle of giving turns, longer than
//! its leases last, and goes on where it was.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{crowds, evidence, fault, has_more_seeds, span, with_seeds};
use crate::crowd::CrowdPlan;
use crate::fleet::{Berth, Fleet};
use crate::redis::RedisServer;

const NODES: usize = 8;
const CAPACITY: u32 = 4;
/// The node spends its time between pick and row, or between row and confirm.
const SLOW: [&str; 2] = ["numbers_granted=delay(300)*", "rows_committed=delay(300)*"];
/// Longer than leases, and than clients listen to silence.
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_stood_still_does_no_harm_when_it_goes_on() {
    with_seeds("a node stands still", |rng| Box::pin(run(rng))).await;
}

async fn run(mut rng: StdRng) -> String {
    let pause = match has_more_seeds() {
        true => LONG,
        false => SHORT,
    };
    let redis = RedisServer::start();
    let sleeper = rng.random_range(0..NODES);
    let slow = SLOW[rng.random_range(0..SLOW.len())];
    let berths = (0..NODES).map(|node| {
        let armed = if node == sleeper { slow } else { "" };
        Berth::at(&redis.url()).with(armed)
    });
    let fleet = Fleet::start(berths).await;
    let plan = CrowdPlan {
        users: 60,
        capacity: CAPACITY,
        // Someone arrives, and waits, before, in and after it.
        arrivals: pause + Duration::from_secs(4),
        stay: Duration::from_millis(400),
        ..CrowdPlan::default()
    };
    let crowds = crowds(&fleet.site(), &plan).await;
    crowds[0].until_over(rng.random_range(1..8)).await;
    crowds[0].pass(span(&mut rng, 0..500)).await;
    let asleep = async {
        fleet.nodes[sleeper].pause().await;
        crowds[0].pass(pause).await;
        fleet.nodes[sleeper].resume().await;
    };
    fault(&crowds, "a node stands still", asleep).await;
    for crowd in crowds {
        let seen = crowd.finish().await;
        evidence::holds(&fleet, &seen, CAPACITY);
        // Nothing was lost, so nothing was rebuilt.
        assert_eq!(seen.epochs(), 1);
    }
    format!("node {sleeper}, {slow}, {pause:?}")
}
