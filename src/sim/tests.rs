//! The simulator in the test command: many seeds clean, every plant reported.

use super::world::{OPERATORS, STEERED};
use super::{Coverage, KeySets, Plant, run};

const COMMANDS: u32 = 300;

/// Seeds of the test command; `USHER_SIM_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("USHER_SIM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000)
}

#[test]
fn no_schedule_breaks_an_invariant() {
    let keys = KeySets::new();
    let mut coverage = Coverage::default();
    let mut broken = Vec::new();
    // With operators and lanes it is another world: a third as often. So are
    // rates that give way: a sixth, every other one with both.
    let plain = 0..seeds();
    let with_operators = (0..seeds().div_ceil(3)).map(|seed| seed | OPERATORS);
    let steered = (0..seeds().div_ceil(6)).map(|seed| seed | STEERED | (seed % 2 * OPERATORS));
    for seed in plain.chain(with_operators).chain(steered) {
        let outcome = run(&keys, seed, COMMANDS, None);
        coverage.add(&outcome.coverage);
        if let Some(first) = outcome.violations.first() {
            broken.push(format!("seed {seed}: {first}"));
        }
    }
    println!("{coverage}");
    let shown = &broken[..broken.len().min(20)];
    assert!(broken.is_empty(), "{} seeds: {shown:#?}", broken.len());
    if seeds() >= 10_000 {
        let rare = coverage.rare(100);
        assert!(rare.is_empty(), "too rare: {rare:?}");
    }
}

/// Each was once broken, by a schedule too rare for the seeds above.
#[test]
fn these_seeds_hold() {
    // A turn told while a DRAW is mapped, then an older state elsewhere.
    const TURN_BEHIND_ITS_DELTA: [u64; 2] = [136_529, 191_960];
    // A stream that must go, of a place that was merged.
    const DRAIN_FORGOTTEN_IN_MERGE: [u64; 4] = [29_631, 34_372, 174_359, 181_519];
    // A row that ended before a slow node brought it to the room.
    const SLOT_TAKEN_LATE: [u64; 7] =
        [62_597, 113_356, 118_645, 158_106, 159_614, 177_468, 187_902];
    // Others' leases ran out while one node alone was steering.
    const ALONE_WHILE_STEERING: [u64; 1] = [3_298_534_885_467];
    let keys = KeySets::new();
    let seeds = [
        &TURN_BEHIND_ITS_DELTA[..],
        &DRAIN_FORGOTTEN_IN_MERGE,
        &SLOT_TAKEN_LATE,
        &ALONE_WHILE_STEERING,
    ];
    let broken: Vec<_> = seeds
        .concat()
        .into_iter()
        .map(|seed| (seed, run(&keys, seed, COMMANDS, None).violations))
        .filter(|(_, violations)| !violations.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_planted_fault_is_reported() {
    const SEEDS_MAX: u64 = 2_000;
    let keys = KeySets::new();
    for plant in Plant::ALL {
        let expected = plant.breaks();
        let operators = u64::from(plant.needs_operators()) * OPERATORS;
        let kind = operators | (u64::from(plant.needs_steering()) * STEERED);
        let found = (0..SEEDS_MAX)
            .map(|seed| seed | kind)
            .filter_map(|seed| {
                run(&keys, seed, COMMANDS, Some(plant))
                    .violations
                    .into_iter()
                    .next()
            })
            .find(|violation| expected.iter().any(|id| violation.starts_with(id)));
        let Some(violation) = found else {
            panic!("{plant:?} was never reported as {expected:?}");
        };
        println!("{plant:?}: {violation}");
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let keys = KeySets::new();
    let (one, two) = (
        run(&keys, 42, COMMANDS, None),
        run(&keys, 42, COMMANDS, None),
    );
    assert_eq!(one.coverage, two.coverage);
    assert_eq!(one.violations, two.violations);
}
