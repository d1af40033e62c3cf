//! How new a copy of the database is, known by what it shows.
//!
//! Mechanism: this node writes a number that only rises into a row of its own in
//! the database, and remembers when it began to. A copy that shows a number has
//! whatever was committed before that number was sent, because copies are made
//! in the order of commits. Both moments are of this node's own monotonic clock,
//! so no two clocks are compared; the row's name is random, so the copy of
//! another database proves nothing.
//!
//! A quiet database has new numbers all the same, so it never looks old; a copy
//! that stands still, follows nobody, or became a database itself gets no new
//! numbers, and looks older by the minute.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::time::UnixMs;

/// Remembered to tell how far behind a copy is; what is too old to be read is
/// known without.
const BEATS_MAX: usize = 1_024;

/// A number that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub value: u64,
    /// Before it was asked to be written.
    pub sent: Instant,
    /// The database's clock after `sent`, before it was written.
    pub as_of: UnixMs,
}

/// Why a copy is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooOld {
    /// By more than the bound, or nothing is known of it.
    Behind,
    /// It may lack a change that was told.
    Changed,
}

pub struct Beats {
    lag_max: Duration,
    state: Mutex<State>,
}

struct State {
    since: Instant,
    /// Rising in number and in time.
    sent: VecDeque<Beat>,
    /// The last that was seen in the copy.
    seen: Option<Beat>,
    /// What was committed before must be there.
    needed: Instant,
}

impl Beats {
    pub fn new(lag_max: Duration) -> Self {
        let since = Instant::now();
        let state = State {
            since,
            sent: VecDeque::new(),
            seen: None,
            needed: since,
        };
        Self {
            lag_max,
            state: Mutex::new(state),
        }
    }

    pub fn last(&self) -> u64 {
        self.state().sent.back().map_or(0, |beat| beat.value)
    }

    /// It was committed; its number is above the last.
    pub fn note(&self, beat: Beat) {
        let mut state = self.state();
        if state.sent.len() == BEATS_MAX {
            state.sent.pop_front();
        }
        state.sent.push_back(beat);
    }

    /// What was committed until now must be seen from now on.
    pub fn changed(&self) {
        self.state().needed = Instant::now();
    }

    /// A copy shows this number now: what that proves, and whether it may be
    /// read.
    pub fn judge(&self, shown: u64) -> Result<Beat, TooOld> {
        let mut state = self.state();
        let proven = state.sent.partition_point(|beat| beat.value <= shown);
        state.seen = proven.checked_sub(1).map(|at| state.sent[at]);
        self.verdict(&state)
    }

    /// As [`Beats::judge`], by what was seen last.
    pub fn expect(&self) -> Result<Beat, TooOld> {
        self.verdict(&self.state())
    }

    fn verdict(&self, state: &State) -> Result<Beat, TooOld> {
        match state.seen {
            Some(beat) if beat.sent.elapsed() > self.lag_max => Err(TooOld::Behind),
            Some(beat) if beat.sent < state.needed => Err(TooOld::Changed),
            Some(beat) => Ok(beat),
            None => Err(TooOld::Behind),
        }
    }

    /// How far behind the copy is at most; a lower bound if it shows nothing that
    /// is remembered.
    pub fn lag(&self) -> Duration {
        let state = self.state();
        let oldest = state.sent.front().map_or(state.since, |beat| beat.sent);
        state.seen.map_or(oldest, |beat| beat.sent).elapsed()
    }

    pub fn are_behind(&self) -> bool {
        self.lag() > self.lag_max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MAX: Duration = Duration::from_secs(2);

    async fn beat(beats: &Beats, value: u64) -> Beat {
        let beat = Beat {
            value,
            sent: Instant::now(),
            as_of: UnixMs(value),
        };
        beats.note(beat);
        tokio::time::advance(Duration::from_millis(500)).await;
        beat
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_as_new_as_the_last_number_it_shows() {
        let beats = Beats::new(LAG_MAX);
        assert_eq!(beats.judge(9_999), Err(TooOld::Behind), "nothing was sent");
        let first = beat(&beats, 10).await;
        let second = beat(&beats, 20).await;
        assert_eq!(beats.judge(9), Err(TooOld::Behind));
        assert_eq!(beats.judge(10), Ok(first));
        assert_eq!(beats.judge(19), Ok(first));
        assert_eq!(beats.judge(20), Ok(second));
        assert_eq!(beats.expect(), Ok(second));
        assert_eq!(beats.lag(), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_still_is_too_old_after_the_bound() {
        let beats = Beats::new(LAG_MAX);
        let first = beat(&beats, 1).await;
        assert_eq!(beats.judge(1), Ok(first));
        for value in 2..5 {
            beat(&beats, value).await;
        }
        assert_eq!(beats.judge(1), Ok(first), "two seconds, and no more");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(beats.judge(1), Err(TooOld::Behind));
        assert_eq!(beats.expect(), Err(TooOld::Behind));
        assert_eq!(beats.lag(), Duration::from_millis(2_001));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_before_a_change_proves_nothing_of_it() {
        let beats = Beats::new(LAG_MAX);
        beat(&beats, 1).await;
        beats.changed();
        assert_eq!(beats.judge(1), Err(TooOld::Changed));
        let after = beat(&beats, 2).await;
        assert_eq!(beats.expect(), Err(TooOld::Changed), "not seen yet");
        assert_eq!(beats.judge(2), Ok(after));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_is_remembered() {
        let beats = Beats::new(LAG_MAX);
        for value in 1..=2_000 {
            beat(&beats, value).await;
        }
        assert_eq!(beats.state().sent.len(), BEATS_MAX);
        assert_eq!(beats.judge(900), Err(TooOld::Behind));
        assert!(beats.lag() >= Duration::from_secs(500));
        assert_eq!(beats.judge(2_000).map(|beat| beat.value), Ok(2_000));
    }
}
