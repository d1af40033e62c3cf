//! Lowers a room's rate while its sale is strained: adaptive admission.
//!
//! Nodes say how strained the sale is ([`Strain`]): the worst of its measures in
//! thousandths of its target. Once a second of room time the worst word of all
//! nodes decides: above the target the rate is cut, in proportion and at most
//! by half; calm, and in use, it is raised; between the two it stays. It begins
//! at its least and doubles until the first cut, as TCP begins (Jacobson 1988;
//! a rate that nobody uses proves nothing, RFC 7661); later it is raised by a
//! tenth. Between two changes lies `settle_ms`, in which the users of a change
//! reach the sale; only strain that doubles meanwhile is answered at once.
//!
//! Multiplicative both ways, where Chiu and Jain (1989) ask for an additive
//! raise: theirs makes independent senders fair, and here is one sender. So it
//! works alike at 1/s and at 10,000/s, and rooms of one sale keep their ratio.
//! The target on a quantile of latency is that of SEDA's admission control
//! (Welsh and Culler 2003).
//!
//! Invariants: never above the policy's rate, never below its least part; what
//! nobody says for [`LEASE_MS`] steers no more.

use super::Room;
use super::leases::LEASE_MS;
use crate::domain::time::{RoomMs, UnixMs};

/// Time between two decisions.
pub const STEER_EVERY_MS: u64 = 1_000;
/// The sale is at its target.
pub const STRAINED_PERMILLE: u32 = 1_000;
/// Below it the rate may rise: targets and noise are apart.
const CALM_PERMILLE: u32 = 800;
/// Above it strain is no longer told apart.
pub const STRAIN_PERMILLE_MAX: u32 = 1_000_000;
const CUT_MIN: f64 = 0.5;
const CUT_MAX: f64 = 0.9;
const RAISE_AT_FIRST: f64 = 2.0;
const RAISE_LATER: f64 = 1.1;

/// What a node says of the sale, and how it wants to be steered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strain {
    /// The worst measure by its target; 0 while the sale is not used.
    pub permille: u32,
    /// The rate's least part, above 0.
    pub rate_min_fraction: f64,
    /// What passes between a turn and its user's calls.
    pub settle_ms: u64,
}

/// A measure in thousandths of its target; a target of 0 is none.
#[must_use]
pub fn permille(measured_ms: f64, target_ms: u64) -> u32 {
    if target_ms == 0 {
        return 0;
    }
    let permille = measured_ms * 1_000.0 / target_ms as f64;
    // Saturates, and what is no number is 0.
    (permille as u32).min(STRAIN_PERMILLE_MAX)
}

/// How a room is steered now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steering {
    rate_per_s: f64,
    heard_at: RoomMs,
    decided_at: RoomMs,
    changed_at: RoomMs,
    /// Since the last change.
    picks: u64,
    /// Since the last decision.
    worst: u32,
    /// At the last cut; 0 once it was calm.
    cut_at: u32,
    was_cut: bool,
}

impl Steering {
    fn begin(now: RoomMs) -> Self {
        Self {
            rate_per_s: 0.0,
            heard_at: now,
            decided_at: now,
            changed_at: now,
            picks: 0,
            worst: 0,
            cut_at: 0,
            was_cut: false,
        }
    }

    fn holds(&self, now: RoomMs) -> bool {
        now.since_ms(self.heard_at) <= LEASE_MS
    }

    fn hear(&mut self, strain: &Strain, rate_per_s: f64, now: RoomMs) {
        self.heard_at = now;
        self.worst = self.worst.max(strain.permille);
        if now.since_ms(self.decided_at) >= STEER_EVERY_MS {
            self.decided_at = now;
            self.decide(strain.settle_ms, now);
            self.worst = 0;
        }
        let least = rate_per_s * strain.rate_min_fraction;
        self.rate_per_s = self.rate_per_s.max(least).min(rate_per_s);
    }

    fn decide(&mut self, settle_ms: u64, now: RoomMs) {
        let since_ms = now.since_ms(self.changed_at);
        let has_settled = since_ms >= settle_ms;
        if self.worst > STRAINED_PERMILLE {
            if has_settled || self.worst >= self.cut_at.saturating_mul(2) {
                let part = f64::from(STRAINED_PERMILLE) / f64::from(self.worst);
                self.change(part.clamp(CUT_MIN, CUT_MAX), now);
                self.cut_at = self.worst;
                self.was_cut = true;
            }
            return;
        }
        self.cut_at = 0;
        if self.worst > CALM_PERMILLE || !has_settled {
            return;
        }
        let is_used = self.picks as f64 * 2_000.0 >= self.rate_per_s * since_ms as f64;
        let raise = match self.was_cut {
            true => RAISE_LATER,
            false => RAISE_AT_FIRST,
        };
        self.change(if is_used { raise } else { 1.0 }, now);
    }

    fn change(&mut self, by: f64, now: RoomMs) {
        self.rate_per_s *= by;
        self.changed_at = now;
        self.picks = 0;
    }
}

impl Room {
    /// A node says how strained its sale is. Answers the rate in effect.
    pub fn steer(&mut self, strain: &Strain, now: UnixMs) -> f64 {
        self.advance(now);
        let (now, rate_per_s) = (self.clock.now(), self.policy.rate_per_s);
        let mut steering = self
            .steering
            .filter(|steering| steering.holds(now))
            .unwrap_or_else(|| Steering::begin(now));
        steering.hear(strain, rate_per_s, now);
        self.steering = Some(steering);
        self.rate_in_effect()
    }

    /// The policy's rate, or less.
    #[must_use]
    pub fn rate_in_effect(&self) -> f64 {
        let rate_per_s = self.policy.rate_per_s;
        match &self.steering {
            Some(steering) if steering.holds(self.clock.now()) => {
                steering.rate_per_s.min(rate_per_s)
            }
            _ => rate_per_s,
        }
    }

    /// A token of the rate was taken.
    pub(super) fn note_pick(&mut self) {
        if let Some(steering) = &mut self.steering {
            steering.picks += 1;
        }
    }
}
