//! The only place that reads a clock.
//!
//! Everything else is handed an `Arc<dyn Clock>`, so a test can move time by
//! hand and a jump of the host's clock can be injected.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::UnixMs;

/// Wall-clock time. Never used to order places: see [`crate::domain::time`].
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> UnixMs;
}

/// The host's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> UnixMs {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is moved. For tests and the simulator.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    #[must_use]
    pub fn new(start: UnixMs) -> Self {
        Self(AtomicU64::new(start.0))
    }

    pub fn advance_ms(&self, step_ms: u64) {
        self.0.fetch_add(step_ms, Ordering::SeqCst);
    }

    /// Jumps to any time, backwards too.
    pub fn set(&self, now: UnixMs) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}
