//! Fails fast while a server is away.
//!
//! Closed: everything passes. After `failures_max` failures in a row it is open
//! for `open_for`; then one call passes and decides: it closes the breaker, or
//! opens it for as long again. A call that never tells how it went costs the
//! others one `open_for`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: Mutex<State>,
}

enum State {
    Closed { failures: u32 },
    Open { until: Instant },
}

impl Breaker {
    #[must_use]
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self {
            failures_max,
            open_for,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Whether a call may try. Who was let through tells how it went.
    pub fn admits(&self, now: Instant) -> bool {
        match &mut *self.state() {
            State::Closed { .. } => true,
            State::Open { until } if now >= *until => {
                *until = now + self.open_for;
                true
            }
            State::Open { .. } => false,
        }
    }

    pub fn succeeded(&self) {
        *self.state() = State::Closed { failures: 0 };
    }

    /// Whether it opened now.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        let until = now + self.open_for;
        match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                let opens = *failures >= self.failures_max;
                if opens {
                    *state = State::Open { until };
                }
                opens
            }
            State::Open { until: open } => {
                *open = until;
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_millis(250);

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(3, OPEN_FOR);
        let now = Instant::now();
        for _round in 0..5 {
            assert!(!breaker.failed(now));
            assert!(!breaker.failed(now));
            breaker.succeeded();
        }
        assert!(breaker.admits(now));
        assert!(!breaker.failed(now));
        assert!(!breaker.failed(now));
        assert!(breaker.failed(now));
        assert!(!breaker.admits(now));
    }

    #[test]
    fn open_it_lets_one_try_through_at_a_time() {
        let breaker = Breaker::new(1, OPEN_FOR);
        let start = Instant::now();
        assert!(breaker.failed(start));
        assert!(!breaker.admits(start + OPEN_FOR / 2));
        let later = start + OPEN_FOR;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later));
        assert!(!breaker.failed(later));
        assert!(!breaker.admits(later + OPEN_FOR / 2));
        assert!(breaker.admits(later + OPEN_FOR));
        breaker.succeeded();
        assert!(breaker.admits(later) && breaker.admits(later));
    }
}
