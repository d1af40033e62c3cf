//! Times of the last moments, for whoever acts on them now.
//!
//! Counts in buckets a fifth apart, in two spans: the one that is filling, and
//! the one before it. A look tells of both and begins a new span, so each time
//! is seen in two looks; one reader looks at regular times.
//!
//! What is under way has an entry in a table, and each look sees its age: if
//! nothing ends any more, that is seen within a second. An age, and the time of
//! what was given up, is only the least that it would have taken; so it counts
//! where it is slower than what ended, and never makes that look quicker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: usize = 96;
/// Per doubling.
const STEPS: f64 = 4.0;
const LEAST_MS: f64 = 0.1;
const SHARE: f64 = 0.95;

/// Any number of threads add, one looks.
#[derive(Debug, Default)]
pub struct RecentTimes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    spans: [Times; 2],
    under_way: HashMap<u64, Instant>,
    begun: u64,
}

impl RecentTimes {
    /// Something that took so long has ended.
    pub fn add(&self, time: Duration) {
        self.state().spans[0].ended.add(time);
    }

    /// Something begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.begun += 1;
        let id = state.begun;
        state.under_way.insert(id, Instant::now());
        drop(state);
        UnderWay {
            times: Arc::clone(self),
            id,
        }
    }

    /// All since the look before the last, and what is under way.
    pub fn look(&self) -> Times {
        let now = Instant::now();
        let mut state = self.state();
        let [mut seen, before] = std::mem::take(&mut state.spans);
        state.spans[1] = seen.clone();
        let ages: Vec<Duration> = state
            .under_way
            .values()
            .map(|begun| now.saturating_duration_since(*begun))
            .collect();
        drop(state);
        seen.merge(&before);
        ages.into_iter().for_each(|age| seen.not_ended.add(age));
        seen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counted once, by what happens first; dropped before that, it was given up.
#[derive(Debug)]
pub struct UnderWay {
    times: Arc<RecentTimes>,
    id: u64,
}

impl UnderWay {
    pub fn end(&self) {
        self.end_as(Duration::ZERO);
    }

    /// It ended in a way that is worth so much time at least.
    pub fn end_as(&self, least: Duration) {
        self.count(|span, took| span.ended.add(took.max(least)));
    }

    /// It says nothing.
    pub fn forget(&self) {
        self.count(|_, _| {});
    }

    fn count(&self, count: impl FnOnce(&mut Times, Duration)) {
        let mut state = self.times.state();
        if let Some(begun) = state.under_way.remove(&self.id) {
            count(&mut state.spans[0], begun.elapsed());
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.count(|span, took| span.not_ended.add(took));
    }
}

/// What a look saw.
#[derive(Debug, Clone, Default)]
pub struct Times {
    ended: Counts,
    not_ended: Counts,
}

impl Times {
    pub fn merge(&mut self, other: &Self) {
        self.ended.merge(&other.ended, 0);
        self.not_ended.merge(&other.not_ended, 0);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.ended.total() + self.not_ended.total()
    }

    /// The 95th percentile, as the upper end of its bucket; `None` if there was
    /// nothing.
    #[must_use]
    pub fn p95_ms(&self) -> Option<f64> {
        let slow_from = self.ended.percentile().unwrap_or(0);
        let mut counted = self.ended.clone();
        counted.merge(&self.not_ended, slow_from);
        let bucket = counted.percentile()?;
        Some(LEAST_MS * ((bucket + 1) as f64 / STEPS).exp2())
    }
}

#[derive(Debug, Clone)]
struct Counts([u32; BUCKETS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Counts {
    fn add(&mut self, time: Duration) {
        let steps = (time.as_secs_f64() * 1_000.0 / LEAST_MS).log2() * STEPS;
        // Saturates: below the first bucket is in it.
        let bucket = (steps as usize).min(BUCKETS - 1);
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    /// From that bucket on.
    fn merge(&mut self, other: &Self, from: usize) {
        let both = self.0.iter_mut().zip(other.0).skip(from);
        both.for_each(|(mine, others)| *mine = mine.saturating_add(others));
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The bucket of the 95th percentile.
    fn percentile(&self) -> Option<usize> {
        let rank = (self.total() as f64 * SHARE).ceil() as u64;
        let mut seen = 0;
        let reaches = |count: &u32| {
            seen += u64::from(*count);
            seen >= rank
        };
        if rank == 0 {
            return None;
        }
        self.0.iter().position(reaches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(ms: impl IntoIterator<Item = u64>) -> Arc<RecentTimes> {
        let times = Arc::new(RecentTimes::default());
        for ms in ms {
            times.add(Duration::from_millis(ms));
        }
        times
    }

    #[track_caller]
    fn assert_about(told: &Times, p95: f64) {
        let told = told.p95_ms().expect("something");
        assert!((p95..=p95 * 1.2).contains(&told), "{told} for {p95}");
    }

    async fn pass_ms(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
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
            assert_about(&times.look(), p95);
        }
    }

    #[test]
    fn a_time_is_seen_twice_and_then_forgotten() {
        let times = filled([400]);
        assert_about(&times.look(), 400.0);
        assert_about(&times.look(), 400.0);
        assert_eq!(times.look().p95_ms(), None);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_place() {
        let times = filled([u64::MAX / 1_000_000]);
        times.add(Duration::ZERO);
        assert!(times.look().p95_ms().is_some_and(|told| told > 1_000_000.0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_seen_by_its_age_at_every_look() {
        let times = filled([]);
        let hung = times.begin();
        for age_ms in [500.0, 1_000.0, 1_500.0, 2_000.0] {
            pass_ms(500).await;
            assert_about(&times.look(), age_ms);
        }
        hung.end();
        assert_about(&times.look(), 2_000.0);
        assert_about(&times.look(), 2_000.0);
        assert_eq!(times.look().p95_ms(), None, "counted once");
        drop(hung);
        assert_eq!(times.look().p95_ms(), None, "and not as given up");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_just_begun_or_was_given_up_at_once_makes_nothing_quicker() {
        let times = filled([300; 10]);
        let young: Vec<_> = (0..1_000).map(|_| times.begin()).collect();
        pass_ms(1).await;
        assert_about(&times.look(), 300.0);
        drop(young);
        assert_about(&times.look(), 300.0);
        assert_eq!(times.look().count(), 1_000, "the times of the drop alone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_late_counts_with_its_time() {
        let times = filled([2; 10]);
        let late = times.begin();
        pass_ms(3_000).await;
        drop(late);
        assert_about(&times.look(), 3_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_may_be_worth_more_time_or_nothing() {
        let times = filled([]);
        times.begin().end_as(Duration::from_secs(10));
        assert_about(&times.look(), 10_000.0);
        let times = filled([]);
        let call = times.begin();
        pass_ms(5_000).await;
        call.forget();
        drop(call);
        assert_eq!(times.look().count(), 0);
    }
}
