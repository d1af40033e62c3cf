//! A bounded memory of how places ended, newest kept.

use std::collections::{HashMap, VecDeque};

use crate::domain::delta::PlaceEnded;
use crate::domain::ids::PlaceKey;
use crate::domain::place::EndReason;

/// Ends remembered per room. Older ones are answered by SQL or the store.
pub const RECENT_ENDS_MAX: usize = 16_384;

/// How a place ended, and where its user's place is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub reason: EndReason,
    pub survivor: Option<PlaceKey>,
}

#[derive(Debug, Default)]
pub(super) struct RecentEnds {
    ends: HashMap<PlaceKey, End>,
    oldest_first: VecDeque<PlaceKey>,
}

impl RecentEnds {
    /// Keeps the first end told of a place: there is only one.
    pub fn insert(&mut self, ended: &PlaceEnded) {
        let end = End {
            reason: ended.reason,
            survivor: ended.survivor,
        };
        if self.ends.contains_key(&ended.place) {
            return;
        }
        if self.oldest_first.len() >= RECENT_ENDS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ends.remove(&oldest);
        }
        self.ends.insert(ended.place, end);
        self.oldest_first.push_back(ended.place);
    }

    pub fn retain(&mut self, is_over: impl Fn(PlaceKey) -> bool) {
        self.ends.retain(|place, _| is_over(*place));
        let ends = &self.ends;
        self.oldest_first.retain(|place| ends.contains_key(place));
    }

    pub fn get(&self, place: PlaceKey) -> Option<End> {
        self.ends.get(&place).copied()
    }
}
