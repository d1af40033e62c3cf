//! Which lane held a reservation: a hint that spares its payment a wait for a
//! lock. Bounded; whoever is forgotten is only slower.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::ResourceId;

/// Of each of the two generations: minutes of a busy sale.
const ROUTES_MAX: usize = 65_536;

#[derive(Default)]
pub struct Routes(Mutex<Generations>);

/// When the young are too many they are the old, and the old are forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<ResourceId, usize>,
    old: HashMap<ResourceId, usize>,
}

impl Routes {
    pub fn remember(&self, reservation: &ResourceId, lane: usize) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= ROUTES_MAX {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(reservation.clone(), lane);
    }

    pub fn lane_of(&self, reservation: &ResourceId) -> Option<usize> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.young.get(reservation);
        found.or_else(|| known.old.get(reservation)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_and_the_oldest_forgotten() {
        let routes = Routes::default();
        let id = |n: usize| ResourceId::parse(&format!("r{n}")).expect("an id");
        for n in 0..=2 * ROUTES_MAX {
            routes.remember(&id(n), n % 4);
        }
        assert_eq!(routes.lane_of(&id(2 * ROUTES_MAX)), Some(0));
        assert_eq!(routes.lane_of(&id(ROUTES_MAX + 1)), Some(1));
        assert_eq!(routes.lane_of(&id(0)), None);
    }
}
