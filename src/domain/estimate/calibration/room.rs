//! Simulated rooms: people join, lose patience, get their turn and use a slot for a random time, in ticks of 100 ms.
//!
//! Each kind opens with a registered crowd and is joined about as fast as it serves, so that the line lasts the whole
//! run and its pause or change of rate falls among people who wait. Orders are given in order of joining, from 1.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::super::Observation;

const TICK_MS: u64 = 100;

/// One kind of room.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub name: &'static str,
    capacity: u64,
    rate_per_s: f64,
    /// From this time on, another rate.
    rate_change: Option<(u64, f64)>,
    /// Between these times nobody is activated.
    pause: Option<(u64, u64)>,
    /// Waiting when the room opens.
    registered: u64,
    joins_per_s: f64,
    /// Share of those who join that leaves during a wait of `patience_ms` on average.
    leaving: f64,
    patience_ms: f64,
    /// Mean time a slot is used, and the most.
    hold_ms: f64,
    hold_ms_max: f64,
    runs_ms: u64,
}

impl Scenario {
    pub(super) fn all(seed: u64) -> [Self; 5] {
        const MINUTE_MS: u64 = 60_000;
        let rate_bound = Self {
            name: "rate-bound",
            capacity: 5_000,
            rate_per_s: 20.0,
            rate_change: None,
            pause: None,
            registered: 8_000,
            joins_per_s: 19.0,
            leaving: 0.05,
            patience_ms: 400_000.0,
            hold_ms: 90_000.0,
            hold_ms_max: 300_000.0,
            runs_ms: 45 * MINUTE_MS,
        };
        let capacity_bound = Self {
            name: "capacity-bound",
            capacity: 1_000,
            rate_per_s: 50.0,
            hold_ms: 60_000.0,
            joins_per_s: 16.0,
            ..rate_bound.clone()
        };
        let leaving = Self {
            name: "30 % leaving",
            leaving: 0.3,
            joins_per_s: 20.0,
            ..capacity_bound.clone()
        };
        let pause = Self {
            name: "pause",
            pause: Some((20 * MINUTE_MS, 22 * MINUTE_MS)),
            ..capacity_bound.clone()
        };
        let factor = if seed.is_multiple_of(2) { 0.6 } else { 1.6 };
        let rate_change = Self {
            name: "rate change",
            rate_change: Some((rate_bound.runs_ms / 2, rate_bound.rate_per_s * factor)),
            ..rate_bound.clone()
        };
        let mut chance = Chance(seed ^ 0x5eed);
        [rate_bound, capacity_bound, leaving, pause, rate_change]
            .map(|scenario| scenario.varied(&mut chance))
    }

    /// Another room of the same kind: half to twice the crowd, the slots and the time each is used, and joins between
    /// four fifths and all of what is served.
    fn varied(self, chance: &mut Chance) -> Self {
        let mut factor = || 2.0_f64.powf(2.0 * chance.unit() - 1.0);
        let (crowd, slots, hold) = (factor(), factor(), factor());
        let rate_bound = self.rate_per_s < 50.0;
        let hold = if rate_bound { 1.0 } else { hold };
        let slots = if rate_bound { 1.0 } else { slots };
        let joins = 0.8 + 0.2 * chance.unit();
        Self {
            registered: (self.registered as f64 * crowd) as u64,
            capacity: (self.capacity as f64 * slots) as u64,
            hold_ms: self.hold_ms * hold,
            joins_per_s: self.joins_per_s * joins * slots / hold,
            ..self
        }
    }

    fn rate_at(&self, now_ms: u64) -> f64 {
        self.rate_change
            .filter(|&(from_ms, _)| now_ms >= from_ms)
            .map_or(self.rate_per_s, |(_, rate)| rate)
    }

    fn paused_at(&self, now_ms: u64) -> bool {
        self.pause
            .is_some_and(|(from_ms, until_ms)| (from_ms..until_ms).contains(&now_ms))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub joined_ms: u64,
    pub turn_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Tick {
    pub now_ms: u64,
    pub seen: Observation,
    pub departed: Vec<u64>,
    pub policy_changed: bool,
}

/// The record of one run; the place of order `n` is `places[n - 1]`.
#[derive(Debug)]
pub(super) struct Room {
    pub places: Vec<Place>,
    pub ticks: Vec<Tick>,
    pub rate_at_start: f64,
}

/// What moves while a room is played.
struct Play<'a> {
    scenario: &'a Scenario,
    chance: Chance,
    places: Vec<Place>,
    waiting: BTreeSet<u64>,
    /// (time, order) of those who will lose patience.
    leaving: BinaryHeap<Reverse<(u64, u64)>>,
    /// When each slot in use comes free.
    slots: BinaryHeap<Reverse<u64>>,
    tokens: f64,
}

impl Room {
    pub(super) fn play(scenario: &Scenario, seed: u64) -> Self {
        let mut play = Play {
            scenario,
            chance: Chance(seed),
            places: Vec::new(),
            waiting: BTreeSet::new(),
            leaving: BinaryHeap::new(),
            slots: BinaryHeap::new(),
            tokens: 0.0,
        };
        for _ in 0..scenario.registered {
            play.join(0);
        }
        let mut ticks = Vec::new();
        let mut next_join_ms = play.chance.exponential(1000.0 / scenario.joins_per_s);
        let mut now_ms = 0;
        while now_ms < scenario.runs_ms || !play.waiting.is_empty() {
            now_ms += TICK_MS;
            while next_join_ms <= now_ms as f64 && now_ms < scenario.runs_ms {
                play.join(now_ms);
                next_join_ms += play.chance.exponential(1000.0 / scenario.joins_per_s);
            }
            let tick = play.tick(now_ms);
            ticks.push(tick);
        }
        Self {
            places: play.places,
            ticks,
            rate_at_start: scenario.rate_per_s,
        }
    }
}

impl Play<'_> {
    fn join(&mut self, now_ms: u64) {
        self.places.push(Place {
            joined_ms: now_ms,
            turn_ms: None,
        });
        let order = self.places.len() as u64;
        self.waiting.insert(order);
        if self.chance.unit() < self.scenario.leaving {
            let patience_ms = self.chance.exponential(self.scenario.patience_ms);
            self.leaving
                .push(Reverse((now_ms + patience_ms as u64, order)));
        }
    }

    fn tick(&mut self, now_ms: u64) -> Tick {
        let mut departed = Vec::new();
        while let Some(&Reverse((at_ms, order))) = self.leaving.peek()
            && at_ms <= now_ms
        {
            self.leaving.pop();
            if self.waiting.remove(&order) {
                departed.push(order);
            }
        }
        let left = departed.len();
        while self
            .slots
            .peek()
            .is_some_and(|&Reverse(at_ms)| at_ms <= now_ms)
        {
            self.slots.pop();
        }
        let serving = !self.scenario.paused_at(now_ms);
        if serving {
            self.activate(now_ms, &mut departed);
        }
        let rate_per_s = self.scenario.rate_at(now_ms);
        let seen = Observation {
            activated: (departed.len() - left) as u64,
            departed_unactivated: left as u64,
            waiting_total: self.waiting.len() as u64,
            slots_in_use: self.slots.len() as u64,
            capacity: self.scenario.capacity,
            rate_per_s,
            slot_ms_max: self.scenario.hold_ms_max as u64,
            serving,
        };
        let policy_changed = rate_per_s != self.scenario.rate_at(now_ms - TICK_MS);
        Tick {
            now_ms,
            seen,
            departed,
            policy_changed,
        }
    }

    fn activate(&mut self, now_ms: u64, departed: &mut Vec<u64>) {
        let a_tick = self.scenario.rate_at(now_ms) * TICK_MS as f64 / 1000.0;
        self.tokens = (self.tokens + a_tick).min(a_tick + 1.0);
        while self.tokens >= 1.0 && (self.slots.len() as u64) < self.scenario.capacity {
            let Some(order) = self.waiting.pop_first() else {
                break;
            };
            self.tokens -= 1.0;
            self.places[order as usize - 1].turn_ms = Some(now_ms);
            departed.push(order);
            let hold_ms = self
                .chance
                .log_normal(self.scenario.hold_ms)
                .min(self.scenario.hold_ms_max);
            self.slots.push(Reverse(now_ms + hold_ms as u64));
        }
    }
}

/// SplitMix64: the run is a function of its seed.
struct Chance(u64);

impl Chance {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal with a shape of 0.7 (most people need about as long, a few much longer).
    fn log_normal(&mut self, mean: f64) -> f64 {
        const SHAPE: f64 = 0.7;
        let normal =
            (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        mean * (SHAPE * normal - SHAPE * SHAPE / 2.0).exp()
    }
}
