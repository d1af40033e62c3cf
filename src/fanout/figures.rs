//! What an operator sees of a room's streams: how many, and how long news took.
//!
//! A push delay is measured from the delta that tells the change to the moment
//! the event is handed to the transport, by the clock. It goes into buckets of
//! at most an eighth of their value, in two windows that take turns: what is
//! shown is of this window and the one before.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::domain::ids::RoomId;

use super::hub::Hub;

/// A window's life; what is shown is one to two of them old at most.
pub(super) const WINDOW_MS: u64 = 30_000;
/// Up to here a bucket is a millisecond.
const EXACT_MS: u64 = 16;
/// Buckets of each doubling above.
const STEPS: u64 = 8;
/// The last bucket begins beyond two minutes.
const DOUBLINGS: u64 = 13;
const BUCKETS: usize = (EXACT_MS + DOUBLINGS * STEPS) as usize;

/// How long news took, lately: so many of a hundred at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushDelay {
    pub p50_ms: u64,
    pub p95_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

struct Window {
    buckets: [AtomicU32; BUCKETS],
    max_ms: AtomicU64,
}

impl Window {
    fn new() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            max_ms: AtomicU64::new(0),
        }
    }

    fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
        self.max_ms.store(0, Ordering::Relaxed);
    }
}

/// One room's push delays. Recording takes no lock.
pub(super) struct Delays {
    windows: [Window; 2],
    current: AtomicUsize,
}

impl Delays {
    pub fn new() -> Self {
        Self {
            windows: [Window::new(), Window::new()],
            current: AtomicUsize::new(0),
        }
    }

    pub fn record(&self, delay_ms: u64) {
        let window = &self.windows[self.current.load(Ordering::Relaxed)];
        window.buckets[bucket_of(delay_ms)].fetch_add(1, Ordering::Relaxed);
        window.max_ms.fetch_max(delay_ms, Ordering::Relaxed);
    }

    /// A window is over: the older one begins anew.
    pub fn turn(&self) {
        let next = 1 - self.current.load(Ordering::Relaxed);
        self.windows[next].clear();
        self.current.store(next, Ordering::Relaxed);
    }

    /// None when nothing was pushed lately.
    pub fn lately(&self) -> Option<PushDelay> {
        let mut counts = [0u64; BUCKETS];
        let mut max_ms = 0;
        for window in &self.windows {
            for (count, bucket) in counts.iter_mut().zip(&window.buckets) {
                *count += u64::from(bucket.load(Ordering::Relaxed));
            }
            max_ms = max_ms.max(window.max_ms.load(Ordering::Relaxed));
        }
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let quantile = |of_hundred: u64| {
            let rank = (total * of_hundred).div_ceil(100);
            let mut seen = 0;
            let index = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            index.map_or(max_ms, longest_in).min(max_ms)
        };
        Some(PushDelay {
            p50_ms: quantile(50),
            p95_ms: quantile(95),
            p99_ms: quantile(99),
            max_ms,
        })
    }
}

fn bucket_of(delay_ms: u64) -> usize {
    if delay_ms < EXACT_MS {
        return delay_ms as usize;
    }
    let doubling = u64::from(delay_ms.ilog2() - EXACT_MS.ilog2());
    let step = (delay_ms >> (doubling + 1)) - STEPS;
    ((EXACT_MS + doubling * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The longest delay that a bucket counts; the last one has no end.
fn longest_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT_MS {
        return bucket;
    }
    if bucket == BUCKETS as u64 - 1 {
        return u64::MAX;
    }
    let (doubling, step) = ((bucket - EXACT_MS) / STEPS, (bucket - EXACT_MS) % STEPS);
    ((STEPS + step + 1) << (doubling + 1)) - 1
}

impl Hub {
    /// How long news of a room took on this node, lately; none if there was
    /// none.
    #[must_use]
    pub fn push_delay(&self, room: &RoomId) -> Option<PushDelay> {
        self.known_room(room)?.delays.lately()
    }

    /// Streams of a room that are open here.
    #[must_use]
    pub fn streams_of(&self, room: &RoomId) -> usize {
        self.known_room(room).map_or(0, |room| {
            self.all_shards()
                .map(|shard| shard.streams_of(room.index))
                .sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_an_eighth_wide() {
        let mut before = 0;
        for delay_ms in 0..200_000 {
            let bucket = bucket_of(delay_ms);
            assert!(bucket == before || bucket == before + 1, "{delay_ms}");
            before = bucket;
            let longest_ms = longest_in(bucket);
            assert!(longest_ms >= delay_ms);
            if bucket < BUCKETS - 1 {
                assert!(longest_ms - delay_ms <= delay_ms / 8, "{delay_ms}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_the_last_two_windows() {
        let delays = Delays::new();
        assert_eq!(delays.lately(), None);
        for delay_ms in 1..=100 {
            delays.record(delay_ms);
        }
        let shown = delays.lately().unwrap();
        assert!((50..=56).contains(&shown.p50_ms), "{shown:?}");
        assert!((95..=100).contains(&shown.p95_ms), "{shown:?}");
        assert!((99..=100).contains(&shown.p99_ms), "{shown:?}");
        assert_eq!(shown.max_ms, 100);
        delays.turn();
        assert_eq!(delays.lately(), Some(shown));
        delays.record(500_000);
        let shown = delays.lately().unwrap();
        assert_eq!((shown.p99_ms, shown.max_ms), (103, 500_000));
        delays.turn();
        let shown = delays.lately().unwrap();
        assert_eq!((shown.p50_ms, shown.max_ms), (500_000, 500_000));
        delays.turn();
        assert_eq!(delays.lately(), None);
    }
}
