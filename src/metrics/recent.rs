//! Times of the last moments, for whoever acts on them now.
//!
//! Counts in buckets a fifth apart, in two spans: the one that is filling, and
//! the one before it. A look tells of both and begins a new span, so each time
//! is seen in two looks; one reader looks at regular times.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const BUCKETS: usize = 96;
/// Per doubling.
const STEPS: f64 = 4.0;
const LEAST_MS: f64 = 0.1;
const SHARE: f64 = 0.95;

type Span = [u32; BUCKETS];

/// Any number of threads add, one looks.
#[derive(Debug)]
pub struct RecentTimes(Mutex<[Span; 2]>);

impl Default for RecentTimes {
    fn default() -> Self {
        Self(Mutex::new([[0; BUCKETS]; 2]))
    }
}

impl RecentTimes {
    pub fn add(&self, time: Duration) {
        let steps = (time.as_secs_f64() * 1_000.0 / LEAST_MS).log2() * STEPS;
        // Saturates: below the first bucket is in it.
        let bucket = (steps as usize).min(BUCKETS - 1);
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans[0][bucket] = spans[0][bucket].saturating_add(1);
    }

    /// The 95th percentile since the look before the last, as the upper end of
    /// its bucket; `None` if there was nothing.
    pub fn look_p95_ms(&self) -> Option<f64> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [now, before] = std::mem::replace(&mut *spans, [[0; BUCKETS]; 2]);
        spans[1] = now;
        drop(spans);
        let both = |bucket: usize| u64::from(now[bucket]) + u64::from(before[bucket]);
        let total: u64 = (0..BUCKETS).map(both).sum();
        if total == 0 {
            return None;
        }
        let rank = (total as f64 * SHARE).ceil() as u64;
        let mut seen = 0;
        let bucket = (0..BUCKETS).find(|bucket| {
            seen += both(*bucket);
            seen >= rank
        })?;
        Some(LEAST_MS * ((bucket + 1) as f64 / STEPS).exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(ms: impl IntoIterator<Item = u64>) -> RecentTimes {
        let times = RecentTimes::default();
        for ms in ms {
            times.add(Duration::from_millis(ms));
        }
        times
    }

    #[test]
    fn the_percentile_is_a_fifth_above_at_most() {
        for (times, p95) in [
            (filled(1..=100), 95.0),
            (filled([7]), 7.0),
            (
                filled((0..100).map(|nth| if nth < 96 { 3 } else { 5_000 })),
                3.0,
            ),
            (filled([2_000; 30]), 2_000.0),
        ] {
            let told = times.look_p95_ms().expect("something");
            assert!((p95..=p95 * 1.2).contains(&told), "{told} for {p95}");
        }
    }

    #[test]
    fn a_time_is_seen_twice_and_then_forgotten() {
        let times = filled([400]);
        assert!(times.look_p95_ms().is_some());
        assert!(times.look_p95_ms().is_some());
        assert_eq!(times.look_p95_ms(), None);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_place() {
        let times = filled([u64::MAX / 1_000_000]);
        times.add(Duration::ZERO);
        assert!(times.look_p95_ms().is_some_and(|told| told > 1_000_000.0));
    }
}
