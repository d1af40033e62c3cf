//! Concerts that turned: one of their performances became sold out, or ceased to
//! be. That is no rare change, and concerns few pages: each turn is numbered, and
//! a page whose read began before a turn of a concert that is on it is not shown
//! after it. All other pages stay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::domain::ids::ResourceId;

/// Concerts whose last turn is known.
const CONCERTS_MAX: usize = 10_000;

#[derive(Default)]
pub struct Turns {
    latest: AtomicU64,
    of: RwLock<HashMap<ResourceId, Turn>>,
}

struct Turn {
    number: u64,
    mark: u64,
}

impl Turns {
    /// The number of the last turn.
    pub fn latest(&self) -> u64 {
        self.latest.load(Ordering::SeqCst)
    }

    /// A turn that is heard again is none. `false`: there were too many, and any
    /// page may be old.
    #[must_use]
    pub fn note(&self, concert: &ResourceId, mark: u64) -> bool {
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        if of.get(concert).is_some_and(|turn| turn.mark == mark) {
            return true;
        }
        let is_full = of.len() >= CONCERTS_MAX && !of.contains_key(concert);
        if is_full {
            of.clear();
        }
        let number = self.latest() + 1;
        of.insert(concert.clone(), Turn { number, mark });
        self.latest.store(number, Ordering::SeqCst);
        !is_full
    }

    /// Whether one of these turned after turn `number`.
    pub fn any_since(&self, number: u64, concerts: &[&ResourceId]) -> bool {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        let turned = |concert: &&ResourceId| of.get(*concert).map(|turn| turn.number);
        concerts.iter().filter_map(turned).any(|turn| turn > number)
    }
}
