//! The master dies, and the replica that is promoted does not have its last
//! two seconds.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{crowds, epochs, evidence, fault, span, with_seeds};
use crate::crowd::CrowdPlan;
use crate::fleet::{Berth, Fleet};
use crate::redis::RedisServer;
use crate::sides::Sides;

const CAPACITY: u32 = 4;
/// From the kill until everyone in line has a fresh position.
const RECOVERED_MS: u64 = 15_000;
/// The machine that runs this has other things to do.
const SLACK: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_lagged_is_not_believed() {
    with_seeds("a replica lags", |rng| Box::pin(run(rng))).await;
}

async fn run(mut rng: StdRng) -> String {
    let mut sides = Sides::start().await;
    let berth = Berth::at(&sides.far_url());
    let fleet = Fleet::start([berth.clone(), berth.clone(), berth]).await;
    let plan = CrowdPlan {
        capacity: CAPACITY,
        arrivals: Duration::from_secs(8),
        ..CrowdPlan::default()
    };
    let crowds = crowds(&fleet.site(), &plan).await;
    crowds[0].until_over(rng.random_range(1..15)).await;
    let lag = span(&mut rng, 1_500..2_500);
    let mut lost = 0;
    let lags = async {
        sides.lag();
        crowds[0].pass(lag).await;
        let written = offset(&sides.master, "master_repl_offset");
        lost = written - offset(&sides.replica, "slave_repl_offset");
    };
    fault(&crowds, "a replica lags", lags).await;
    assert!(lost > 0, "it lacks something");
    let dies = async {
        sides.kill_master();
        sides.await_promotion();
    };
    let before = epochs(&fleet, &crowds);
    let died = fault(&crowds, "it is promoted", dies).await;
    let mut fresh_ms = 0;
    for (judged, crowd) in crowds.into_iter().enumerate() {
        let seen = crowd.finish().await;
        evidence::holds(&fleet, &seen, CAPACITY);
        let epoch = evidence::epoch(&fleet, seen.room.as_str());
        assert!(
            epoch > before[judged],
            "what the replica had is not believed"
        );
        fresh_ms = seen.fresh_after_ms(died).max(fresh_ms);
    }
    assert!(fresh_ms <= SLACK * RECOVERED_MS, "{fresh_ms} ms");
    format!("{lost} bytes lost, all fresh {fresh_ms} ms after the kill")
}

fn offset(server: &RedisServer, field: &str) -> u64 {
    server.info(field).parse().expect("an offset")
}
