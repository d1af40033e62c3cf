//! The model of a moving line: from the policy and what was measured to the time a position reaches the front.

use super::window::Measured;
use super::{DRIFT, DRIFT_S, Observation};

/// Keeps divisions defined where nothing was measured to happen.
const HAZARD_MIN: f64 = 1e-9;
/// Step, in logarithm, of the numeric derivatives.
const STEP: f64 = 0.02;

#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    capacity: f64,
    in_use: f64,
    /// Activations a second while slots are free.
    rate_per_s: f64,
    rate_deviation: f64,
    /// Share of the slots in use that comes free in a second; none before enough slots came free.
    turnover_per_s: Option<f64>,
    turnover_deviation: f64,
    /// Variance of the slots freed in a time over their mean.
    dispersion: f64,
    leaving_per_s: f64,
    leaving_deviation: f64,
}

impl Line {
    pub(super) fn new(seen: &Observation, measured: &Measured) -> Self {
        let turnover_min = 1000.0 / seen.slot_ms_max.max(1) as f64;
        let never_full = measured.rate_per_s <= seen.capacity as f64 * turnover_min;
        Self {
            capacity: seen.capacity as f64,
            in_use: seen.slots_in_use as f64,
            rate_per_s: measured.rate_per_s,
            rate_deviation: measured.rate_deviation,
            turnover_per_s: measured
                .turnover_per_s
                .map(|turnover| turnover.max(turnover_min))
                .or(never_full.then_some(turnover_min)),
            turnover_deviation: measured.turnover_deviation,
            dispersion: measured.dispersion,
            leaving_per_s: measured.leaving_per_s.max(HAZARD_MIN),
            leaving_deviation: measured.leaving_deviation,
        }
    }

    /// The expected time until `ahead` places are gone, and its relative deviation.
    pub(super) fn wait_s(&self, ahead: f64) -> Option<(f64, f64)> {
        if self.rate_per_s <= 0.0 || self.capacity <= 0.0 {
            return None;
        }
        let Some(turnover) = self.turnover_per_s else {
            return self.wait_on_free_slots(ahead);
        };
        let wait = self.solve(ahead, self.rate_per_s, turnover, self.leaving_per_s);
        let up = STEP.exp();
        let slope = |changed: f64| (changed / wait).ln() / STEP;
        let by_rate = slope(self.solve(ahead, self.rate_per_s * up, turnover, self.leaving_per_s));
        let by_turnover =
            slope(self.solve(ahead, self.rate_per_s, turnover * up, self.leaving_per_s));
        let by_leaving =
            slope(self.solve(ahead, self.rate_per_s, turnover, self.leaving_per_s * up));
        let variance = drift(wait)
            + (by_rate * self.rate_deviation).powi(2)
            + (by_turnover * self.turnover_deviation).powi(2)
            + (by_leaving * self.leaving_deviation).powi(2)
            + self.noise(ahead, wait, -by_turnover);
        Some((wait, variance.sqrt()))
    }

    /// Before slots have turned over, only places that free slots suffice for have a wait that can be told.
    fn wait_on_free_slots(&self, ahead: f64) -> Option<(f64, f64)> {
        if ahead > self.capacity - self.in_use {
            return None;
        }
        let wait = drained_s(ahead, self.rate_per_s, self.leaving_per_s);
        Some((
            wait,
            (drift(wait) + self.rate_deviation.powi(2) + self.noise(ahead, wait, 0.0)).sqrt(),
        ))
    }

    /// Relative variance by the chance in what is ahead: slots come free and people leave at random times.
    fn noise(&self, ahead: f64, wait: f64, turnover_share: f64) -> f64 {
        // Half: those near the front have their turn before they would leave.
        let left = ahead * (1.0 - (-self.leaving_per_s * wait).exp()) * 0.5;
        let activated = (ahead - left).max(1.0);
        let slots = self.dispersion * turnover_share.clamp(0.0, 1.0) / activated;
        slots + left / activated.powi(2)
    }

    fn solve(&self, ahead: f64, rate: f64, turnover: f64, leaving: f64) -> f64 {
        // After the capacity was lowered nobody is activated until enough slots came free.
        if self.in_use > self.capacity {
            let drains_s = (self.in_use / self.capacity).ln() / turnover;
            let lowered = Self {
                in_use: self.capacity,
                ..*self
            };
            return drains_s
                + lowered.solve(ahead * (-leaving * drains_s).exp(), rate, turnover, leaving);
        }
        let full_rate = self.capacity * turnover;
        if rate <= full_rate {
            return drained_s(ahead, rate, leaving);
        }
        // Slots in use approach rate / turnover and meet the capacity after this time.
        let filled_s =
            ((rate / turnover - self.in_use) / (rate / turnover - self.capacity)).ln() / turnover;
        let unfilled = drained_s(ahead, rate, leaving);
        if unfilled <= filled_s {
            return unfilled;
        }
        let kept = (-leaving * filled_s).exp();
        let still_ahead = ahead * kept - rate * -(-leaving * filled_s).exp_m1() / leaving;
        filled_s + drained_s(still_ahead.max(0.0), full_rate, leaving)
    }
}

/// Time until nobody is ahead when `rate` are served a second and each of those ahead leaves with hazard `leaving`:
/// the solution of `ahead' = −rate − leaving · ahead`.
fn drained_s(ahead: f64, rate: f64, leaving: f64) -> f64 {
    (leaving * ahead / rate).ln_1p() / leaving
}

/// Relative variance of what may still change: the longer the wait, the more.
fn drift(wait_s: f64) -> f64 {
    DRIFT.powi(2) * wait_s / (wait_s + DRIFT_S)
}
