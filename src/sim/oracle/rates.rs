//! Q6 by time: how many had their turn in any window, by the policy's rate and
//! by the one that the room said it gave way to.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::domain::room::TICK_MS;
use crate::domain::room::leases::LEASE_MS;
use crate::domain::time::RoomMs;

use super::Oracle;

/// Looked back on.
const PICKS_MAX: usize = 64;

/// Room time of the latest picks at one rate.
#[derive(Debug, Default)]
struct Picks {
    at_ms: VecDeque<u64>,
    rate_per_s: f64,
}

impl Picks {
    fn new_rate(&mut self, rate_per_s: f64) {
        self.rate_per_s = rate_per_s;
        self.at_ms.clear();
    }

    /// In every window, activations ≤ rate × (w + tick) + 1; else what was.
    fn add(&mut self, at_ms: u64, count: usize, rate_per_s: f64) -> Result<(), String> {
        if (self.rate_per_s - rate_per_s).abs() > f64::EPSILON {
            self.new_rate(rate_per_s);
        }
        self.at_ms.extend(std::iter::repeat_n(at_ms, count));
        while self.at_ms.len() > PICKS_MAX {
            self.at_ms.pop_front();
        }
        for (index, start) in self.at_ms.iter().enumerate() {
            let window_ms = at_ms - start;
            let allowed = rate_per_s * (window_ms + TICK_MS) as f64 / 1_000.0 + 1.0 + 1e-6;
            let made = (self.at_ms.len() - index) as f64;
            if made > allowed {
                let what =
                    format!("{made} activations in {window_ms} ms at {rate_per_s} per second");
                return Err(what);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Rates {
    by_policy: Picks,
    in_effect: Picks,
    /// What the room answered to the last word of strain, and when.
    steered: Option<(RoomMs, f64)>,
}

impl Oracle {
    /// A node spoke of strain: the rate in effect is within its bounds.
    pub(in crate::sim) fn steered(
        &mut self,
        at: RoomMs,
        rate_per_s: f64,
        bounds: RangeInclusive<f64>,
    ) {
        self.check(bounds.contains(&rate_per_s), "Q6", || {
            format!("steered to {rate_per_s} per second, not within {bounds:?}")
        });
        self.rates.steered = Some((at, rate_per_s));
    }

    pub(in crate::sim) fn picked(&mut self, at: RoomMs, count: usize, policy_per_s: f64) {
        let rates = &mut self.rates;
        let steered = rates.steered;
        let in_effect = match steered {
            Some((heard, told)) if at.since_ms(heard) <= LEASE_MS => told.min(policy_per_s),
            _ => policy_per_s,
        };
        let by_policy = rates.by_policy.add(at.0, count, policy_per_s);
        let held = by_policy.and(rates.in_effect.add(at.0, count, in_effect));
        if let Err(what) = held {
            self.report("Q6", &what);
        }
    }

    pub(in crate::sim) fn new_rate(&mut self, rate_per_s: f64) {
        self.rates.by_policy.new_rate(rate_per_s);
        self.rates.in_effect.new_rate(rate_per_s);
    }

    /// A rebuilt room begins with new tokens, and unsteered.
    pub(super) fn forget_rates(&mut self) {
        self.rates = Rates::default();
    }
}
