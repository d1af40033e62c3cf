//! The master is cut off with half of the nodes, and the other half goes on
//! with the replica.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{crowds, epochs, evidence, fault, span, steps_of, with_seeds};
use crate::crowd::CrowdPlan;
use crate::fleet::{Berth, Fleet};
use crate::sides::Sides;

const CAPACITY: u32 = 4;
/// Turns that were picked on the side that loses are written late.
const SLOW: [&str; 3] = [
    "numbers_granted=delay(200)*",
    "rows_committed=delay(200)*",
    "",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_isolated_master_lets_nobody_in_twice() {
    with_seeds("a master is isolated", |rng| Box::pin(run(rng))).await;
}

async fn run(mut rng: StdRng) -> String {
    let sides = Sides::start().await;
    let slow = SLOW[rng.random_range(0..SLOW.len())];
    let near = Berth::at(&sides.near_url()).with(slow);
    let far = Berth::at(&sides.far_url());
    let fleet = Fleet::start([near.clone(), far.clone(), near, far]).await;
    let plan = CrowdPlan {
        capacity: CAPACITY,
        arrivals: std::time::Duration::from_secs(12),
        ..CrowdPlan::default()
    };
    let crowds = crowds(&fleet.site(), &plan).await;
    crowds[0].until_over(rng.random_range(1..15)).await;
    crowds[0].pass(span(&mut rng, 0..500)).await;
    let rest = span(&mut rng, 1_000..5_000);
    let before = epochs(&fleet, &crowds);
    let mut steps = 0;
    let apart = async {
        sides.cut();
        let before = steps_of(&sides.master);
        sides.await_promotion();
        crowds[0].pass(rest).await;
        assert_eq!(sides.master.info("role"), "master", "for its side");
        steps = steps_of(&sides.master) - before;
        sides.heal();
        // Until it has heard of the other, it still is a master.
        sides.await_agreement();
    };
    let apart = fault(&crowds, "the master is isolated", apart).await;
    assert!(steps > 0, "its nodes went on with it");
    let mut after = Vec::new();
    for crowd in crowds {
        let seen = crowd.finish().await;
        evidence::holds(&fleet, &seen, CAPACITY);
        let epoch = evidence::epoch(&fleet, seen.room.as_str());
        // The side that lost rebuilds nothing.
        assert_eq!(epoch, before[after.len()] + 1, "raised once");
        after.push(epoch);
    }
    format!(
        "{slow} {steps} steps on the old master, {} ms apart, epochs {before:?} to {after:?}",
        apart.to_ms - apart.from_ms
    )
}
