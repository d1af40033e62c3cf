//! What the crowd has done so far. Only counts that grow; what is now follows
//! from them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) joined: AtomicU64,
    pub(super) turns: AtomicU64,
    pub(super) bought: AtomicU64,
    pub(super) went: AtomicU64,
    pub(super) gave_up: AtomicU64,
    pub(super) lapsed: AtomicU64,
    pub(super) updates: AtomicU64,
    pub(super) retries: AtomicU64,
    refused: AtomicU64,
    first_refusal: Mutex<Option<String>>,
    /// Updates until the line before.
    updates_told: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Tally {
    pub(super) fn refuse(&self, why: String) {
        count(&self.refused);
        let mut first = self
            .first_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(why);
    }

    /// Why, if not a single one could join.
    pub(super) fn nobody_came(&self) -> Option<String> {
        if self.joined.load(Relaxed) > 0 {
            return None;
        }
        let first = self.first_refusal.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line, once a second.
    pub(super) fn second(&self, since_start: Duration) -> String {
        let updates = self.updates.load(Relaxed);
        let before = self.updates_told.swap(updates, Relaxed);
        format!(
            "{:>4}s  {}  updates {}/s  retries {}",
            since_start.as_secs(),
            self.people(),
            updates.saturating_sub(before),
            self.retries.load(Relaxed)
        )
    }

    /// The last line.
    pub(super) fn summary(&self) -> String {
        format!(
            "done   {}  updates {}  retries {}",
            self.people(),
            self.updates.load(Relaxed),
            self.retries.load(Relaxed)
        )
    }

    fn people(&self) -> String {
        // Ends first: a visitor between two counts must not make less than none.
        let (bought, went) = (self.bought.load(Relaxed), self.went.load(Relaxed));
        let (gave_up, lapsed) = (self.gave_up.load(Relaxed), self.lapsed.load(Relaxed));
        let turns = self.turns.load(Relaxed);
        let joined = self.joined.load(Relaxed);
        let waiting = joined.saturating_sub(turns + gave_up + lapsed);
        let inside = turns.saturating_sub(bought + went);
        let mut text = format!(
            "joined {joined}  waiting {waiting}  turns {turns}  inside {inside}  \
             bought {bought}  went {went}  gave up {gave_up}  lapsed {lapsed}"
        );
        let refused = self.refused.load(Relaxed);
        if refused > 0 {
            text.push_str(&format!("  refused {refused}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_where_follows_from_what_happened() {
        let tally = Tally::default();
        for _ in 0..5 {
            count(&tally.joined);
        }
        count(&tally.turns);
        count(&tally.turns);
        count(&tally.bought);
        count(&tally.gave_up);
        tally.updates.store(7, Relaxed);
        let line = tally.second(Duration::from_secs(3));
        for part in ["3s", "joined 5", "waiting 2", "inside 1", "updates 7/s"] {
            assert!(line.contains(part), "{line} lacks {part}");
        }
        assert!(tally.second(Duration::from_secs(4)).contains("updates 0/s"));
        assert_eq!(tally.nobody_came(), None);
    }

    #[test]
    fn the_first_refusal_is_told_when_nobody_came() {
        let tally = Tally::default();
        tally.refuse("closed".to_owned());
        tally.refuse("later".to_owned());
        assert_eq!(tally.nobody_came().as_deref(), Some("closed"));
        assert!(tally.summary().contains("refused 2"));
    }
}
