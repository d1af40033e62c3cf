//! The simulator in the test command: many seeds clean, every plant reported.

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
    for seed in 0..seeds() {
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

#[test]
fn every_planted_fault_is_reported() {
    const SEEDS_MAX: u64 = 2_000;
    let keys = KeySets::new();
    for plant in Plant::ALL {
        let expected = plant.breaks();
        let found = (0..SEEDS_MAX)
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
