//! What nodes say of a strained sale: at random, up and down, and at times
//! nothing for so long that the room is steered no more.

use rand::Rng;

use crate::domain::room::steering::Strain;

use super::super::plant::Plant;
use super::{NODES, World};

impl World {
    /// One word, or a while of the same: a change takes several.
    pub(in crate::sim) fn steer(&mut self, node: usize) {
        self.coverage.count("command: steer");
        let strain = Strain {
            permille: [0, 500, 900, 1_500, 20_000][self.rng.random_range(0..5)],
            rate_min_fraction: [0.05, 0.5][self.rng.random_range(0..2)],
            settle_ms: [100, 1_500][self.rng.random_range(0..2)],
        };
        for _ in 0..self.rng.random_range(1..6) {
            self.say(node, &strain);
            self.pass(400);
            // Whoever lives ticks at least once a second: else its streams
            // would count as gone.
            for node in 0..NODES {
                self.tick(node);
            }
        }
    }

    fn say(&mut self, node: usize, strain: &Strain) {
        if !self.serve(node) {
            return;
        }
        let now = self.now;
        let rate_per_s = self.machine_policy().rate_per_s;
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let before = room.rate_in_effect();
        let least = rate_per_s * strain.rate_min_fraction;
        let told = match self.plant {
            // It says that it gives way.
            Some(Plant::SteeringIgnored) => {
                let whole = Strain {
                    rate_min_fraction: 1.0,
                    ..*strain
                };
                room.steer(&whole, now);
                least
            }
            _ => room.steer(strain, now),
        };
        if told < before {
            self.coverage.count("steering: rate lowered");
        } else if told > before {
            self.coverage.count("steering: rate raised");
        }
        self.oracle.steered(room.now(), told, least..=rate_per_s);
    }
}
