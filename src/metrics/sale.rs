//! How long calls of the sale take, by method.
//!
//! Each method is judged by its own times: pooled, a payment that takes ten
//! seconds is not seen among a hundred quick looks at the seats. A method that
//! is called too seldom for a percentile is judged with all the others.

use std::sync::{Arc, Mutex, PoisonError};

use super::recent::{RecentTimes, Times};

/// Below it the 95th percentile is the slowest call.
const SAMPLES_MIN: u64 = 20;

/// The methods' times; one reader looks at regular times.
#[derive(Debug, Default)]
pub struct SaleTimes(Mutex<Vec<Arc<RecentTimes>>>);

impl SaleTimes {
    /// One more method, which adds to this.
    #[must_use]
    pub fn method(&self) -> Arc<RecentTimes> {
        let times = Arc::<RecentTimes>::default();
        let mut methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        methods.push(Arc::clone(&times));
        times
    }

    /// The worst of the methods' 95th percentiles, and that of all together;
    /// `None` if nothing was called.
    pub fn look_p95_ms(&self) -> Option<f64> {
        let methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let looks: Vec<Times> = methods.iter().map(|method| method.look()).collect();
        drop(methods);
        let mut all = Times::default();
        looks.iter().for_each(|look| all.merge(look));
        looks
            .iter()
            .filter(|look| look.count() >= SAMPLES_MIN)
            .chain([&all])
            .filter_map(Times::p95_ms)
            .reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn looked(methods: &[(u64, u64)]) -> Option<f64> {
        let times = SaleTimes::default();
        for (count, ms) in methods {
            let method = times.method();
            (0..*count).for_each(|_| method.add(Duration::from_millis(*ms)));
        }
        times.look_p95_ms()
    }

    #[test]
    fn one_slow_method_among_many_quick_calls_is_seen() {
        for (methods, slow) in [
            (&[(10_000, 2), (SAMPLES_MIN, 3_000)][..], true),
            // Too few for a percentile of their own.
            (&[(10_000, 2), (SAMPLES_MIN - 1, 3_000)], false),
            // Nor has any other enough.
            (&[(10, 2), (5, 3_000)], true),
            (&[(10, 2), (5, 3)], false),
        ] {
            let told = looked(methods).expect("calls");
            assert_eq!(told >= 3_000.0, slow, "{methods:?}: {told}");
        }
        assert_eq!(looked(&[(0, 0), (0, 0)]), None);
    }
}
