//! Recent seconds of a lane, and what they say about its rates.
//!
//! A ring holds one record per second of serving time. Running sums over the newest 10, 60 and 300 seconds are kept
//! as seconds enter and leave, so measuring costs the same at every length of the line.

use super::Observation;

const WINDOWS_S: [usize; 3] = [10, 60, 300];
const RING_S: usize = WINDOWS_S[2];
/// Seconds in one bucket of the dispersion.
const BUCKET_S: usize = 10;
/// Deviations by which a newer window must differ to be believed over an older one.
const CHANGE_DEVIATIONS: f64 = 4.0;
/// Relative deviation of turnover beyond counting: those who got their turn together come back in waves.
const TURNOVER_DEVIATION: f64 = 0.03;
/// Slots that must have come free before turnover is known at all.
const FREED_MIN: f64 = 20.0;

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    freed: f64,
    /// Slots in use, integrated over time.
    slot_s: f64,
    left: f64,
    waiting_s: f64,
    /// Activations and time while slots were free and people waited: what the rate alone gave.
    unhindered: f64,
    unhindered_s: f64,
}

impl Sums {
    fn each(&mut self, other: &Self, sign: f64) {
        self.freed += sign * other.freed;
        self.slot_s += sign * other.slot_s;
        self.left += sign * other.left;
        self.waiting_s += sign * other.waiting_s;
        self.unhindered += sign * other.unhindered;
        self.unhindered_s += sign * other.unhindered_s;
    }
}

/// The rates of a lane with their relative deviations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub rate_per_s: f64,
    pub rate_deviation: f64,
    pub turnover_per_s: Option<f64>,
    pub turnover_deviation: f64,
    pub dispersion: f64,
    pub leaving_per_s: f64,
    pub leaving_deviation: f64,
}

#[derive(Debug, Clone)]
pub(super) struct History {
    ring: Vec<Sums>,
    next: usize,
    windows: [Sums; 3],
    open: Sums,
    open_s: f64,
    freed_ever: f64,
    dispersion: f64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            ring: Vec::new(),
            next: 0,
            windows: Default::default(),
            open: Sums::default(),
            open_s: 0.0,
            freed_ever: 0.0,
            dispersion: 1.0,
        }
    }
}

impl History {
    /// Adds what happened between two observations of a serving room.
    pub(super) fn record(&mut self, span_s: f64, before: &Observation, seen: &Observation) {
        // Below zero while places are granted and not yet told: their activation in a later tick evens it out.
        let freed = (before.slots_in_use + seen.activated) as f64 - seen.slots_in_use as f64;
        // A second's worth of free slots: a full room has a few between two grants.
        let unhindered = seen.slots_in_use as f64 + seen.rate_per_s <= seen.capacity as f64
            && seen.waiting_total > 0;
        self.open.each(
            &Sums {
                freed,
                slot_s: before.slots_in_use as f64 * span_s,
                left: seen.departed_unactivated as f64,
                waiting_s: before.waiting_total as f64 * span_s,
                unhindered: if unhindered {
                    seen.activated as f64
                } else {
                    0.0
                },
                unhindered_s: if unhindered { span_s } else { 0.0 },
            },
            1.0,
        );
        self.freed_ever += freed;
        self.open_s += span_s;
        if self.open_s >= 1.0 - 1e-9 {
            self.close_second();
        }
    }

    fn close_second(&mut self) {
        let second = std::mem::take(&mut self.open);
        self.open_s = 0.0;
        for (window, length) in self.windows.iter_mut().zip(WINDOWS_S) {
            if self.ring.len() >= length {
                let oldest = (self.next + self.ring.len() - length) % self.ring.len();
                window.each(&self.ring[oldest], -1.0);
            }
            window.each(&second, 1.0);
        }
        if self.ring.len() < RING_S {
            self.ring.push(second);
        } else {
            self.ring[self.next] = second;
        }
        self.next = (self.next + 1) % RING_S;
        if self.next.is_multiple_of(BUCKET_S) {
            self.dispersion = self.measure_dispersion();
        }
    }

    pub(super) fn forget_rate(&mut self) {
        let rate_only = |sums: &mut Sums| {
            sums.unhindered = 0.0;
            sums.unhindered_s = 0.0;
        };
        self.ring
            .iter_mut()
            .chain(&mut self.windows)
            .for_each(rate_only);
        rate_only(&mut self.open);
    }

    pub(super) fn measure(&self, seen: &Observation) -> Measured {
        let (freed, slot_s) = self.agreeing(|sums| (sums.freed, sums.slot_s), self.dispersion);
        let generations = self.freed_ever.max(0.0) / (seen.capacity.max(1) as f64);
        // Early on, the slots seen to come free are the short ones.
        let young = 0.4 * (1.0 - generations / 1.5).max(0.0);
        let (left, waiting_s) = self.agreeing(|sums| (sums.left, sums.waiting_s), 1.0);
        let (rate_per_s, rate_deviation) = self.measure_rate(seen.rate_per_s);
        Measured {
            rate_per_s,
            rate_deviation,
            turnover_per_s: (freed >= FREED_MIN).then(|| freed / slot_s),
            turnover_deviation: (self.dispersion / freed.max(1.0)
                + young * young
                + TURNOVER_DEVIATION * TURNOVER_DEVIATION)
                .sqrt(),
            dispersion: self.dispersion,
            leaving_per_s: if waiting_s > 0.0 {
                left / waiting_s
            } else {
                0.0
            },
            leaving_deviation: (1.0 / left.max(1.0) + 0.04).sqrt(),
        }
    }

    /// The configured rate, unless activations with slots free were measured to be slower (a slow store).
    fn measure_rate(&self, configured: f64) -> (f64, f64) {
        let (given, time_s) = self.agreeing(|sums| (sums.unhindered, sums.unhindered_s), 0.1);
        let expected = configured * time_s;
        if time_s >= 5.0 && given >= 1.0 && given < 0.9 * expected - 2.0 {
            return (given / time_s, 0.1);
        }
        (configured, 0.0)
    }

    /// Count and exposure of the longest window that agrees with the newer ones.
    fn agreeing(&self, of: impl Fn(&Sums) -> (f64, f64), dispersion: f64) -> (f64, f64) {
        let [newest, middle, longest] = [0, 1, 2].map(|window| of(&self.windows[window]));
        let agrees = |newer: (f64, f64), older: (f64, f64)| {
            let expected = if older.1 > 0.0 {
                older.0 / older.1 * newer.1
            } else {
                0.0
            };
            (newer.0 - expected).abs() <= CHANGE_DEVIATIONS * (dispersion * expected + 1.0).sqrt()
        };
        match (agrees(newest, middle), agrees(middle, longest)) {
            (true, true) => longest,
            (true, false) => middle,
            (false, _) => newest,
        }
    }

    /// Variance over mean of the slots freed in ten seconds, by differences of neighbouring buckets, so that a change
    /// of level does not count as noise.
    fn measure_dispersion(&self) -> f64 {
        let ordered = (0..self.ring.len()).map(|at| &self.ring[(self.next + at) % self.ring.len()]);
        let freed: Vec<f64> = ordered.map(|second| second.freed).collect();
        let buckets: Vec<f64> = freed
            .chunks_exact(BUCKET_S)
            .map(|bucket| bucket.iter().sum())
            .collect();
        let mean = buckets.iter().sum::<f64>() / buckets.len().max(1) as f64;
        if buckets.len() < 4 || mean <= 0.0 {
            return 1.0;
        }
        let squares: f64 = buckets
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).powi(2))
            .sum();
        (squares / (2.0 * (buckets.len() - 1) as f64) / mean).clamp(0.2, 20.0)
    }
}
