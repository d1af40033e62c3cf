//! The table of a calibration.

use std::collections::BTreeMap;
use std::fmt;

use super::super::Wait;

/// Naive estimates count as right within this share of the real wait.
const NAIVE_MARGIN: f64 = 0.2;

/// What was given at one tenth of the waits of one or all scenarios.
#[derive(Debug, Clone, Default)]
pub struct Tenth {
    asked: usize,
    inside: usize,
    naive_inside: usize,
    /// Width of each range given and error of each naive estimate, in shares of the wait really left.
    widths: Vec<f64>,
    naive_errors: Vec<f64>,
}

impl Tenth {
    fn add(&mut self, left_ms: u64, given: Option<Wait>, naive_ms: f64) {
        self.asked += 1;
        let Some(wait) = given else { return };
        let left = left_ms as f64;
        self.inside += usize::from((wait.low_ms..=wait.high_ms).contains(&left_ms));
        self.widths.push((wait.high_ms - wait.low_ms) as f64 / left);
        let naive_error = (naive_ms / left - 1.0).abs();
        self.naive_inside += usize::from(naive_error <= NAIVE_MARGIN);
        self.naive_errors.push(naive_error);
    }

    /// Share of the questions that got a range.
    #[must_use]
    pub fn given(&self) -> f64 {
        self.widths.len() as f64 / self.asked.max(1) as f64
    }

    /// Share of the ranges that held the real wait.
    #[must_use]
    pub fn inside(&self) -> f64 {
        self.inside as f64 / self.widths.len().max(1) as f64
    }

    #[must_use]
    pub fn median_width(&self) -> f64 {
        median(&self.widths)
    }

    /// Share of the same questions that `position / rate` answers within 20 %.
    #[must_use]
    pub fn naive_inside(&self) -> f64 {
        self.naive_inside as f64 / self.widths.len().max(1) as f64
    }

    #[must_use]
    pub fn naive_median_error(&self) -> f64 {
        median(&self.naive_errors)
    }
}

/// Figures per tenth of the wait, in total and per scenario.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub total: [Tenth; 10],
    pub scenarios: BTreeMap<&'static str, [Tenth; 10]>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        scenario: &'static str,
        tenth: usize,
        left_ms: u64,
        given: Option<Wait>,
        naive_ms: f64,
    ) {
        self.total[tenth].add(left_ms, given, naive_ms);
        self.scenarios.entry(scenario).or_default()[tenth].add(left_ms, given, naive_ms);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenarios = self.scenarios.iter().map(|(name, tenths)| (*name, tenths));
        for (name, tenths) in scenarios.chain([("total", &self.total)]) {
            writeln!(
                f,
                "{name}\n  tenth | given % | inside % | median width % | naive inside % | naive median error %"
            )?;
            for (tenth, figures) in tenths.iter().enumerate() {
                writeln!(
                    f,
                    "  {tenth:>5} | {:>7.1} | {:>8.1} | {:>14.1} | {:>14.1} | {:>20.1}",
                    100.0 * figures.given(),
                    100.0 * figures.inside(),
                    100.0 * figures.median_width(),
                    100.0 * figures.naive_inside(),
                    100.0 * figures.naive_median_error(),
                )?;
            }
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
