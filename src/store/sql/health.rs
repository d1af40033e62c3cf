//! Whether the server behind a pool answers: a breaker that only fails fast.
//!
//! It opens when a connection cannot be made, or a unit runs out of time while
//! nobody gets an answer: one that is too large for a slow server is no sign of
//! silence. It closes with the first unit that is over. While it is open, units are
//! refused at once, except one each [`TRIAL_MS`], which tries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::SqlError;

/// A closed server is noticed to be back so soon.
const TRIAL_MS: u64 = 250;
/// A server that says nothing for so long is away, to who waited in vain.
const SILENCE_MS: u128 = 1_000;
/// `next_trial_ms` of a closed breaker; a trial is never at time 0.
const CLOSED: u64 = 0;

pub(super) struct Health {
    /// As the log calls the server.
    of: &'static str,
    since: Instant,
    next_trial_ms: AtomicU64,
    answered_ms: AtomicU64,
    /// The last answer to any statement.
    heard_ms: AtomicU64,
}

impl Health {
    pub(super) fn new() -> Self {
        Self::of("database")
    }

    pub(super) fn of(server: &'static str) -> Self {
        Self {
            of: server,
            since: Instant::now(),
            next_trial_ms: AtomicU64::new(CLOSED),
            answered_ms: AtomicU64::default(),
            heard_ms: AtomicU64::default(),
        }
    }

    /// A statement was answered.
    pub(super) fn hears(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A unit did not end `within` its time.
    pub(super) fn runs_out(&self, within: Duration) {
        let silent_ms = self.now_ms() - self.heard_ms.load(Ordering::Relaxed);
        if u128::from(silent_ms) >= (within / 2).as_millis().min(SILENCE_MS) {
            self.fails();
        }
    }

    fn now_ms(&self) -> u64 {
        // From 1, so that no time is CLOSED.
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }

    pub(super) fn answers(&self) {
        self.answered_ms.store(self.now_ms(), Ordering::Relaxed);
        if self.next_trial_ms.swap(CLOSED, Ordering::Relaxed) != CLOSED {
            tracing::info!("the {} answers again", self.of);
        }
    }

    pub(super) fn fails(&self) {
        let next = self.now_ms() + TRIAL_MS;
        if self.next_trial_ms.swap(next, Ordering::Relaxed) == CLOSED {
            tracing::warn!("the {} does not answer", self.of);
        }
    }

    /// Whether it is known not to answer.
    pub(super) fn is_open(&self) -> bool {
        self.next_trial_ms.load(Ordering::Relaxed) != CLOSED
    }

    /// # Errors
    /// [`SqlError::Unavailable`] while it is open, except to the next trial.
    pub(super) fn admit(&self) -> Result<(), SqlError> {
        let at = self.next_trial_ms.load(Ordering::Relaxed);
        let now = self.now_ms();
        let tries = || {
            let relaxed = Ordering::Relaxed;
            let next = now + TRIAL_MS;
            let taken = self
                .next_trial_ms
                .compare_exchange(at, next, relaxed, relaxed);
            taken.is_ok()
        };
        if at == CLOSED || (now >= at && tries()) {
            return Ok(());
        }
        Err(silent())
    }

    /// Why a unit did not get its turn `within` a time.
    pub(super) fn why_waiting(&self, within: Duration) -> SqlError {
        let silent_ms = self.now_ms() - self.answered_ms.load(Ordering::Relaxed);
        if u128::from(silent_ms) < within.as_millis() {
            return SqlError::Overloaded;
        }
        self.fails();
        silent()
    }
}

fn silent() -> SqlError {
    SqlError::Unavailable("the database does not answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_it_is_open_one_unit_at_a_time_tries() {
        let health = Health::new();
        assert_eq!(health.admit(), Ok(()));
        health.fails();
        assert_eq!(health.admit(), Err(silent()));
        tokio::time::advance(Duration::from_millis(TRIAL_MS)).await;
        assert_eq!(health.admit(), Ok(()));
        assert_eq!(health.admit(), Err(silent()), "one tries");
        health.answers();
        assert_eq!(health.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_that_is_too_large_is_no_sign_of_silence() {
        let (health, within) = (Health::new(), Duration::from_secs(5));
        health.hears();
        tokio::time::advance(Duration::from_millis(900)).await;
        health.runs_out(within);
        assert_eq!(health.admit(), Ok(()));
        tokio::time::advance(Duration::from_millis(100)).await;
        health.runs_out(within);
        assert_eq!(health.admit(), Err(silent()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_behind_others_is_told_so() {
        let (health, within) = (Health::new(), Duration::from_secs(2));
        health.answers();
        tokio::time::advance(within / 2).await;
        assert_eq!(health.why_waiting(within), SqlError::Overloaded);
        tokio::time::advance(within).await;
        assert_eq!(health.why_waiting(within), silent());
        assert_eq!(health.admit(), Err(silent()));
    }
}
