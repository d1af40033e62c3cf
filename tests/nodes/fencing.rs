//! Whoever wakes up late, or was cut off, changes nothing any more.
//!
//! Each test runs a fault with some seeds: which node, when, for how long, and
//! where in the way of a turn. Several rooms go on at once, each with a crowd of
//! its own; what the crowds saw is compared with the rows ([`evidence`]).

mod cluster;
pub mod evidence;
mod lagging;
mod paused;
mod split;

use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::crowd::{Crowd, CrowdPlan, Site, Span};
use crate::fleet::Fleet;
use crate::redis::RedisServer;

/// More by the environment.
const SEEDS: u64 = 2;
const SEEDS_ENV: &str = "USHER_TEST_FENCING_SEEDS";
const ROOMS: [&str; 2] = ["one", "two"];

fn has_more_seeds() -> bool {
    std::env::var_os(SEEDS_ENV).is_some()
}

/// Runs a fault with each seed, one after the other: each has processes of its own.
async fn with_seeds(what: &str, run: impl Fn(StdRng) -> BoxFuture<'static, String>) {
    let told = std::env::var(SEEDS_ENV).ok();
    let seeds = told.map_or(SEEDS, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        println!("{what}, seed {seed}");
        println!("{}", run(StdRng::seed_from_u64(seed)).await);
    }
}

/// A crowd in each room.
async fn crowds(site: &Site, plan: &CrowdPlan) -> Vec<Crowd> {
    let mut crowds = Vec::new();
    for name in ROOMS {
        let plan = CrowdPlan {
            name,
            ..plan.clone()
        };
        crowds.push(Crowd::start(site.clone(), plan).await);
    }
    crowds
}

/// Runs a fault that all crowds take note of.
async fn fault(crowds: &[Crowd], what: &str, fault: impl Future<Output = ()>) -> Span {
    let [one, two] = crowds else {
        panic!("a crowd in each room")
    };
    let both = async {
        two.fault(what, fault).await;
    };
    one.fault(what, both).await
}

fn epochs(fleet: &Fleet, crowds: &[Crowd]) -> Vec<u64> {
    let epoch = |crowd: &Crowd| evidence::epoch(fleet, crowd.room());
    crowds.iter().map(epoch).collect()
}

/// How long until, or how long, by the seed.
fn span(rng: &mut StdRng, ms: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(ms))
}

/// Scripts that a server ran.
fn steps_of(server: &RedisServer) -> u64 {
    let told = server.cli(&["INFO", "commandstats"]);
    let line = told
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"));
    let calls = line.and_then(|line| line.split(['=', ',']).nth(1));
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}
