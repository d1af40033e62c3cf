//! How long a place has still to wait, as a range that may be believed.
//!
//! A lane moves by activations and by people ahead who leave or lapse. Activations follow two laws at once: the
//! configured `rate`, and the turnover of slots, of which only so many come free in a second as are in use times the
//! share given back (`turnover_per_s`, measured). So the model is: with slots free the lane moves at `rate`; once
//! `capacity` is full, at `capacity × turnover`; and everyone ahead leaves at a measured hazard. `line::Line` solves
//! that for the time a position reaches the front.
//!
//! What is measured comes from a ring of seconds (`window::History`) over 10, 60 and 300 s: the longest window is
//! used whose rate agrees with the newer ones, so a real change is followed within seconds and noise is not. Seconds
//! in which the room does not serve are left out, and an announced change of policy acts at once, since the model is
//! made of the policy and not of its past output.
//!
//! Slots known to come back in time (`rate × slot_ms_max ≤ capacity`) need no measurement.
//!
//! Absent places ahead count as people who will take their turn or lapse, so among many of them the range is late.
//!
//! The width is what is not known: counting noise of what is ahead, the error of each measured value weighted by how
//! much the answer depends on it, and a share for what no measurement shows (`DRIFT`). Nothing is answered while
//! the room does not serve, before slots have turned over where they decide, or when the range would be too wide to
//! be of use.

pub mod calibration;
mod line;
mod window;

use line::Line;
use window::History;

/// How often a lane is observed: counts are gathered in between.
pub const OBSERVE_EVERY_MS: u64 = 1_000;
/// Half-width of the range in standard deviations.
const DEVIATIONS: f64 = 0.9;
/// Relative deviation of what no measurement shows (people change, operators decide), for a wait much longer than
/// `DRIFT_S`; half its square for one just as long.
const DRIFT: f64 = 0.07;
const DRIFT_S: f64 = 600.0;
/// Ticks, rounds and the age of a position.
const ROUNDING_S: f64 = 0.3;
/// Above this relative deviation there is no estimate.
const DEVIATION_MAX: f64 = 0.45;
/// An estimate beyond this is none.
const WAIT_MAX_S: f64 = 7.0 * 86_400.0;

/// One look at one lane. With several lanes, `rate_per_s`, `capacity` and `slots_in_use` are the lane's share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Since the last observation: places that got their turn.
    pub activated: u64,
    /// Since the last observation: places that left, lapsed or merged.
    pub departed_unactivated: u64,
    pub waiting_total: u64,
    pub slots_in_use: u64,
    pub capacity: u64,
    pub rate_per_s: f64,
    /// The longest a slot is kept: claim window and pass together.
    pub slot_ms_max: u64,
    /// OPEN, not rebuilding, and the view is fresh.
    pub serving: bool,
}

/// A remaining wait between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub low_ms: u64,
    pub high_ms: u64,
}

/// Measures one lane and answers for any of its positions. Memory is constant (about 15 KB).
#[derive(Debug, Clone, Default)]
pub struct Estimator {
    history: History,
    last: Option<(u64, Observation)>,
    line: Option<Line>,
}

impl Estimator {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one look at `now_ms` of room time. Where counts may be missing (a gap in the view, a new epoch) pass
    /// one observation that is not `serving` first: nothing is concluded across it.
    pub fn observe(&mut self, now_ms: u64, seen: &Observation) {
        if let Some((then_ms, before)) = self.last
            && before.serving
            && seen.serving
        {
            let span_s = now_ms.saturating_sub(then_ms) as f64 / 1000.0;
            self.history.record(span_s, &before, seen);
        }
        self.last = Some((now_ms, *seen));
        self.line = seen
            .serving
            .then(|| Line::new(seen, &self.history.measure(seen)));
    }

    /// The policy was changed. Capacity and rate act by themselves with the next observation; what is forgotten is
    /// how well the old rate was kept.
    pub fn policy_changed(&mut self) {
        self.history.forget_rate();
    }

    /// The remaining wait at `position` (1 = next). None while the room does not serve, or when what decides the
    /// wait has not been seen often enough.
    #[must_use]
    pub fn estimate(&self, position: u64) -> Option<Wait> {
        let line = self.line.as_ref()?;
        let (wait_s, deviation) = line.wait_s(position.max(1) as f64 - 0.5)?;
        // Written so that a value that is no number is no estimate either.
        if !(deviation <= DEVIATION_MAX && wait_s <= WAIT_MAX_S) {
            return None;
        }
        let spread = (DEVIATIONS * deviation).exp();
        let ms = |s: f64| (s.max(0.0) * 1000.0).round() as u64;
        Some(Wait {
            low_ms: ms(wait_s / spread - ROUNDING_S),
            high_ms: ms(wait_s * spread + ROUNDING_S),
        })
    }
}

#[cfg(test)]
mod tests;
