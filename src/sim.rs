//! A seeded simulator of whole rooms: line, SQL, nodes, hubs, tokens, recovery
//! and clients under a random schedule.
//!
//! The room machine, the views, the hubs and the keys are the real ones; SQL is
//! a small model with the same promises, and each node does the engine's steps
//! one at a time, so that a crash or a loss can fall between any two of them.
//! Streams are real subscriptions, polled by hand on injected time. After every
//! command the [`oracle`] compares what clients were told with what happened,
//! by brute force. The same seed gives the same run.
//!
//! A [`Plant`] switches one fault on: a checker that cannot fail proves
//! nothing, so a test plants each and expects a report.

pub mod coverage;
mod keys;
mod node;
mod oracle;
pub mod plant;
mod sale;
mod sql;
mod stream;
#[cfg(test)]
mod tests;
mod world;

pub use coverage::Coverage;
pub use keys::KeySets;
pub use plant::Plant;

/// What one seed brought.
#[derive(Debug, Default)]
pub struct Outcome {
    pub coverage: Coverage,
    /// Invariant and what happened, in order; empty when all held.
    pub violations: Vec<String>,
}

/// Runs one seed for `commands` commands, then lets the room come to rest.
#[must_use]
pub fn run(keys: &KeySets, seed: u64, commands: u32, plant: Option<Plant>) -> Outcome {
    let mut world = world::World::new(keys, seed, plant);
    for _ in 0..commands {
        world.step();
        if !world.oracle.violations.is_empty() {
            break;
        }
    }
    if world.oracle.violations.is_empty() {
        world.come_to_rest();
    }
    Outcome {
        coverage: world.coverage,
        violations: world.oracle.violations,
    }
}
