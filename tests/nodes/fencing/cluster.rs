//! The master of a room in a Redis Cluster is cut off from the other servers
//! with its clients, or stands still, until its replica is promoted; then it
//! comes back, and may do what was on its way to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{crowds, epochs, evidence, fault, span, steps_of, with_seeds};
use crate::crowd::{Crowd, CrowdPlan};
use crate::fleet::{Berth, Fleet};
use crate::islands::Islands;

const CAPACITY: u32 = 4;
/// Turns that were picked by the old master are written late.
const SLOW: &str = "numbers_granted=delay(200)*";
/// T_recover of a failover.
const RECOVERED_MS: u64 = 15_000;
/// The machine that runs this has other things to do.
const SLACK: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    CutOff,
    StandsStill,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_whose_master_is_isolated_lets_nobody_in_twice() {
    let runs = AtomicUsize::new(0);
    with_seeds("a master of a cluster is isolated", |rng| {
        let faults = [Fault::CutOff, Fault::StandsStill];
        let kind = faults[runs.fetch_add(1, Ordering::Relaxed) % faults.len()];
        Box::pin(run(kind, rng))
    })
    .await;
}

async fn run(kind: Fault, mut rng: StdRng) -> String {
    let islands = Islands::start().await;
    let berth = Berth::at(&islands.url());
    let fleet = Fleet::start([berth.clone().with(SLOW), berth.clone(), berth]).await;
    let plan = CrowdPlan {
        capacity: CAPACITY,
        // Faster than they are let in: there is a line when it happens.
        arrivals: Duration::from_secs(2),
        stay: Duration::from_millis(400),
        ..CrowdPlan::default()
    };
    let crowds = crowds(&fleet.site(), &plan).await;
    crowds[0].until_over(rng.random_range(1..10)).await;
    let (master, replica) = pair_of(&islands, &crowds[0]);
    let is_hit: Vec<_> = crowds
        .iter()
        .map(|crowd| pair_of(&islands, crowd).0 == master)
        .collect();
    crowds[0].pass(span(&mut rng, 0..500)).await;
    let before = epochs(&fleet, &crowds);
    let rest = span(&mut rng, 500..2_500);
    let mut steps = 0;
    let apart = async {
        let done = steps_of(islands.server(master));
        match kind {
            Fault::CutOff => islands.cut_off(master, replica),
            Fault::StandsStill => islands.server(master).pause(),
        }
        islands.await_promotion(replica);
        crowds[0].pass(rest).await;
        match kind {
            Fault::CutOff => islands.heal(master, replica),
            Fault::StandsStill => islands.server(master).resume(),
        }
        steps = steps_of(islands.server(master)) - done;
        islands.await_return(master);
    };
    let apart = fault(&crowds, "a master is isolated", apart).await;
    assert!(
        kind == Fault::StandsStill || steps > 0,
        "its clients went on with it"
    );
    let mut fresh_ms = 0;
    let mut after = Vec::new();
    for (judged, crowd) in crowds.into_iter().enumerate() {
        let seen = crowd.finish().await;
        evidence::holds(&fleet, &seen, CAPACITY);
        let epoch = evidence::epoch(&fleet, seen.room.as_str());
        if is_hit[judged] {
            assert!(
                epoch > before[judged],
                "what the replica had is not believed"
            );
            fresh_ms = seen.fresh_after_ms(apart).max(fresh_ms);
        } else {
            assert_eq!(epoch, before[judged], "its master was there all the time");
        }
        after.push(epoch);
    }
    assert!(fresh_ms <= SLACK * RECOVERED_MS, "{fresh_ms} ms");
    format!(
        "{kind:?}, {steps} steps on the old master, {} ms apart, epochs {before:?} to {after:?}, all fresh after {fresh_ms} ms",
        apart.to_ms - apart.from_ms
    )
}

/// The master of a crowd's room, and its replica.
fn pair_of(islands: &Islands, crowd: &Crowd) -> (usize, usize) {
    islands.pair_of(&format!("{{{}}}", crowd.room()))
}
