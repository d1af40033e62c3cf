//! How long the reader of a stream takes nothing.
//!
//! The transport asks a stream for its next message at once when it can take
//! one, and does not while the reader's window is full; so the time from the
//! stream's call (its waker, or a message just taken) to the transport's next
//! question is how long the reader took nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

const NEVER_MS: u64 = u64::MAX;

/// Of a response, for the transport: its stream is reset when its reader takes
/// nothing for so long. A stream that is not asked cannot end by itself.
#[derive(Debug, Clone, Copy)]
pub struct ResetAfter(pub Duration);

/// Since when the transport is called, and whom to call. As a waker it calls.
pub struct Call {
    origin: Instant,
    since_ms: AtomicU64,
    transport: AtomicWaker,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            since_ms: AtomicU64::new(NEVER_MS),
            transport: AtomicWaker::new(),
        }
    }
}

impl Call {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(NEVER_MS)
    }

    /// The earliest unanswered call counts.
    pub fn note(&self) {
        let now_ms = self.elapsed_ms();
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.since_ms.compare_exchange(NEVER_MS, now_ms, set, fetch);
    }

    /// The transport asks, to be woken by this: how long it was called in vain.
    pub fn answer(&self, transport: &Waker) -> Duration {
        self.transport.register(transport);
        match self.since_ms.swap(NEVER_MS, Ordering::AcqRel) {
            NEVER_MS => Duration::ZERO,
            since_ms => Duration::from_millis(self.elapsed_ms().saturating_sub(since_ms)),
        }
    }

    /// When the call was made that is not answered yet.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        match self.since_ms.load(Ordering::Acquire) {
            NEVER_MS => None,
            since_ms => Some(self.origin + Duration::from_millis(since_ms)),
        }
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
        self.transport.wake();
    }
}
