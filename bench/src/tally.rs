//! What happened, counted: times per RPC, refusals and errors by reason.
//!
//! A *refusal* did not happen and says why (a seat was taken); an *error* may
//! have happened (UNAVAILABLE, a broken connection), or the client could not go
//! on. Times are of every attempt, refused ones included.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest time told apart from longer ones.
const MICROS_MAX: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Times of one kind of thing.
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let made = Histogram::new_with_bounds(1, MICROS_MAX, SIGNIFICANT_DIGITS);
        Self(made.expect("fixed bounds that the library takes"))
    }
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MICROS_MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds below which this part of the times lies.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub fn mean_ms(&self) -> f64 {
        self.0.mean() / 1_000.0
    }

    fn json(&self) -> Value {
        json!({
            "count": self.count(),
            "mean_ms": self.mean_ms(),
            "p50_ms": self.quantile_ms(0.5),
            "p90_ms": self.quantile_ms(0.9),
            "p95_ms": self.quantile_ms(0.95),
            "p99_ms": self.quantile_ms(0.99),
            "max_ms": self.quantile_ms(1.0),
        })
    }
}

#[derive(Default)]
struct Counts {
    times: BTreeMap<&'static str, Times>,
    refusals: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

/// Shared by all users of a measurement.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    pub fn clear(&self) {
        self.with(|counts| *counts = Counts::default());
    }

    pub fn time(&self, what: &'static str, time: Duration) {
        self.with(|counts| counts.times.entry(what).or_default().add(time));
    }

    pub fn refusal(&self, rpc: &'static str, reason: &str) {
        self.with(|counts| {
            *counts
                .refusals
                .entry(format!("{rpc} {reason}"))
                .or_default() += 1
        });
    }

    pub fn error(&self, rpc: &'static str, reason: &str) {
        self.with(|counts| *counts.errors.entry(format!("{rpc} {reason}")).or_default() += 1);
    }

    pub fn errors(&self) -> u64 {
        self.with(|counts| counts.errors.values().sum())
    }

    /// Refusals for any reason but this one.
    pub fn refusals_but(&self, expected: &str) -> u64 {
        self.with(|counts| {
            let others = counts.refusals.iter().filter(|(key, _)| *key != expected);
            others.map(|(_, count)| count).sum()
        })
    }

    /// The times of these kinds together.
    pub fn times_of(&self, kinds: &[&str]) -> Times {
        self.with(|counts| {
            let mut all = Times::default();
            let of_kind = kinds.iter().filter_map(|kind| counts.times.get(kind));
            of_kind.for_each(|times| all.merge(times));
            all
        })
    }

    /// Of the times of one kind; `None` if there were none.
    pub fn quantile_ms(&self, what: &str, quantile: f64) -> Option<f64> {
        self.with(|counts| Some(counts.times.get(what)?.quantile_ms(quantile)))
    }

    pub fn text(&self) -> String {
        self.with(|counts| {
            let mut text = format!(
                "{:<28} {:>9} {:>10} {:>10} {:>10} {:>10}\n",
                "ms", "count", "p50", "p95", "p99", "max"
            );
            for (name, times) in &counts.times {
                let quantile = |quantile| times.quantile_ms(quantile);
                let _ = writeln!(
                    text,
                    "{name:<28} {:>9} {:>10.2} {:>10.2} {:>10.2} {:>10.2}",
                    times.count(),
                    quantile(0.5),
                    quantile(0.95),
                    quantile(0.99),
                    quantile(1.0)
                );
            }
            for (title, all) in [("refused", &counts.refusals), ("errors", &counts.errors)] {
                if all.is_empty() {
                    let _ = writeln!(text, "{title}: none");
                }
                for (key, count) in all {
                    let _ = writeln!(text, "{title}: {count} x {key}");
                }
            }
            text
        })
    }

    pub fn json(&self) -> Value {
        self.with(|counts| {
            let times: BTreeMap<_, _> = counts
                .times
                .iter()
                .map(|(name, times)| (*name, times.json()))
                .collect();
            json!({ "times": times, "refusals": counts.refusals, "errors": counts.errors })
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_added() {
        let mut times = Times::default();
        for ms in 1..=100 {
            times.add(Duration::from_millis(ms));
        }
        assert!((times.quantile_ms(0.5) - 50.0).abs() < 0.1);
        assert!((times.quantile_ms(0.95) - 95.0).abs() < 0.1);
        let mut more = Times::default();
        more.add(Duration::from_secs(3_600));
        times.merge(&more);
        assert_eq!(times.count(), 101);
        assert!(times.quantile_ms(1.0) > 599_000.0);
    }

    #[test]
    fn refusals_and_errors_are_told_apart() {
        let tally = Tally::default();
        tally.refusal("HoldSeats", "SEAT_UNAVAILABLE");
        tally.refusal("HoldSeats", "SEAT_UNAVAILABLE");
        tally.refusal("HoldSeats", "SOLD_OUT");
        tally.error("Join", "DEGRADED");
        assert_eq!(tally.refusals_but("HoldSeats SEAT_UNAVAILABLE"), 1);
        assert_eq!(tally.errors(), 1);
        assert!(
            tally
                .text()
                .contains("refused: 2 x HoldSeats SEAT_UNAVAILABLE")
        );
    }
}
