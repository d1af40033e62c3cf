//! A rate that gives way to a strained sale.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::domain::room::steering::{STEER_EVERY_MS, STRAIN_PERMILLE_MAX, Strain, permille};

const SETTLE_MS: u64 = 2_000;

fn strain(permille: u32) -> Strain {
    Strain {
        permille,
        rate_min_fraction: 0.01,
        settle_ms: SETTLE_MS,
    }
}

impl World {
    fn crowd(rate_per_s: f64, people: usize) -> Self {
        let mut world = Self::new(policy(1_000_000, rate_per_s));
        for index in 0..people {
            world.join(&format!("u{index}"));
        }
        world
    }

    /// Says the same, and ticks, for a while; answers how many had their turn.
    fn steered(&mut self, permille: u32, span_ms: u64) -> usize {
        let mut picked = 0;
        for _ in 0..span_ms / TICK_MS {
            picked += self.tick(TICK_MS).granted.len();
            self.room.steer(&strain(permille), self.now);
        }
        picked
    }
}

#[test]
fn unsteered_a_room_keeps_its_rate() {
    let mut world = World::crowd(10.0, 200);
    for _ in 0..20 {
        world.tick(TICK_MS);
    }
    assert_eq!(world.room.rate_in_effect().to_bits(), 10.0_f64.to_bits());
}

#[test]
fn it_begins_at_the_least_and_doubles_while_the_sale_is_calm() {
    let mut world = World::crowd(100.0, 2_000);
    let begun = world.room.steer(&strain(0), world.now);
    assert!((begun - 1.0).abs() < 1e-9);
    world.steered(100, SETTLE_MS + STEER_EVERY_MS);
    assert!((world.room.rate_in_effect() - 2.0).abs() < 1e-9);
    world.steered(100, 30_000);
    assert_eq!(world.room.rate_in_effect().to_bits(), 100.0_f64.to_bits());
}

#[test]
fn strain_cuts_at_once_and_again_when_it_doubles_or_stays() {
    let mut world = World::crowd(64.0, 5_000);
    world.steered(0, 30_000);
    world.steered(1_500, STEER_EVERY_MS);
    let cut = world.room.rate_in_effect();
    assert!((cut - 64.0 / 1.5).abs() < 1e-9, "{cut}");
    // No worse than at the cut: its users are still on their way.
    world.steered(1_600, STEER_EVERY_MS);
    assert_eq!(world.room.rate_in_effect().to_bits(), cut.to_bits());
    world.steered(3_000, STEER_EVERY_MS);
    let again = world.room.rate_in_effect();
    assert!((again - cut / 2.0).abs() < 1e-9, "{again}");
    world.steered(3_000, SETTLE_MS + STEER_EVERY_MS);
    assert!((world.room.rate_in_effect() - again / 2.0).abs() < 1e-9);
    // Near the target nothing moves; below it the rate rises slowly.
    world.steered(900, STEER_EVERY_MS);
    let low = world.room.rate_in_effect();
    world.steered(900, 10_000);
    assert_eq!(world.room.rate_in_effect().to_bits(), low.to_bits());
    world.steered(500, SETTLE_MS + STEER_EVERY_MS);
    let raised = world.room.rate_in_effect();
    assert!(raised > low && raised < low * 1.3, "{low} {raised}");
}

#[test]
fn a_rate_that_nobody_uses_is_not_raised() {
    let mut world = World::crowd(100.0, 3);
    world.steered(0, 4 * SETTLE_MS);
    let used = world.room.rate_in_effect();
    world.steered(0, 60_000);
    assert_eq!(world.room.rate_in_effect().to_bits(), used.to_bits());
    assert!(used < 100.0);
}

#[test]
fn what_nobody_says_any_more_steers_no_more() {
    let mut world = World::crowd(100.0, 10);
    world.steered(5_000, 3_000);
    assert!(world.room.rate_in_effect() < 2.0);
    for _ in 0..=leases::LEASE_MS / TICK_MS {
        world.tick(TICK_MS);
    }
    assert_eq!(world.room.rate_in_effect().to_bits(), 100.0_f64.to_bits());
}

#[test]
fn a_measure_is_told_by_its_target() {
    assert_eq!(permille(50.0, 200), 250);
    assert_eq!(permille(400.0, 200), 2_000);
    assert_eq!(permille(400.0, 0), 0, "no target");
    assert_eq!(permille(f64::MAX, 1), STRAIN_PERMILLE_MAX);
    assert_eq!(permille(f64::NAN, 1), 0);
}

/// Whatever is said and configured: never above the configured rate (Q6), by
/// the rate in effect and by the turns that were given.
#[test]
fn no_word_of_strain_raises_the_rate_above_the_policys() {
    for seed in 0..50 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rate_per_s: f64 = [0.7, 5.0, 40.0, 2_000.0][rng.random_range(0..4)];
        let mut world = World::crowd(rate_per_s, 3_000);
        let mut turns: Vec<(u64, usize)> = Vec::new();
        for _ in 0..600 {
            let step_ms = [0, 20, 100, 100, 100, 700, 1_000][rng.random_range(0..7)];
            let picked = world.tick(step_ms).granted.len();
            turns.push((world.room.now().0, picked));
            if rng.random_bool(0.7) {
                let said = Strain {
                    permille: [0, 300, 900, 1_001, 4_000, STRAIN_PERMILLE_MAX]
                        [rng.random_range(0..6)],
                    rate_min_fraction: [0.001, 0.2, 1.0][rng.random_range(0..3)],
                    settle_ms: rng.random_range(0..3_000),
                };
                let least = rate_per_s * said.rate_min_fraction;
                let in_effect = world.room.steer(&said, world.now);
                assert!(in_effect >= least && in_effect <= rate_per_s, "seed {seed}");
            }
        }
        for (first, &(from_ms, _)) in turns.iter().enumerate() {
            let mut count = 0;
            for &(at_ms, picked) in &turns[first..] {
                count += picked;
                let window_s = (at_ms - from_ms + TICK_MS) as f64 / 1_000.0;
                let allowed = rate_per_s * window_s + 1.0 + 1e-6;
                assert!(
                    count as f64 <= allowed,
                    "seed {seed}: {count} in {window_s} s"
                );
            }
        }
    }
}

/// A sale that serves so many calls a second, first come first served, to users
/// who make theirs one second apart from `think_ms` after their turn on.
struct Sale {
    calls_per_s: f64,
    calls_per_user: u64,
    think_ms: u64,
    /// When each call comes, in order.
    coming: std::collections::BinaryHeap<std::cmp::Reverse<u64>>,
    queue: VecDeque<u64>,
    credit: f64,
    /// Latencies in each second, and how many were served in all.
    recent: VecDeque<(u64, u64)>,
    served: usize,
}

impl Sale {
    fn new(calls_per_s: f64, think_ms: u64) -> Self {
        Self {
            calls_per_s,
            calls_per_user: 5,
            think_ms,
            coming: std::collections::BinaryHeap::new(),
            queue: VecDeque::new(),
            credit: 0.0,
            recent: VecDeque::new(),
            served: 0,
        }
    }

    fn admit(&mut self, users: usize, now_ms: u64) {
        for _ in 0..users {
            for call in 0..self.calls_per_user {
                let at_ms = now_ms + self.think_ms + call * 1_000;
                self.coming.push(std::cmp::Reverse(at_ms));
            }
        }
    }

    /// Serves for one tick; answers the 95th percentile of the last second.
    fn serve(&mut self, now_ms: u64) -> u64 {
        while let Some(std::cmp::Reverse(at_ms)) = self.coming.peek().copied()
            && at_ms <= now_ms
        {
            self.coming.pop();
            self.queue.push_back(at_ms);
        }
        self.credit += self.calls_per_s * TICK_MS as f64 / 1_000.0;
        while self.credit >= 1.0
            && let Some(at_ms) = self.queue.pop_front()
        {
            self.credit -= 1.0;
            self.served += 1;
            self.recent.push_back((now_ms, now_ms - at_ms));
        }
        self.credit = self.credit.min(1.0 + self.calls_per_s / 10.0);
        while self
            .recent
            .front()
            .is_some_and(|(at_ms, _)| at_ms + 1_000 <= now_ms)
        {
            self.recent.pop_front();
        }
        let mut latencies: Vec<u64> = self.recent.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        let nth = latencies.len() * 95 / 100;
        latencies.get(nth).copied().unwrap_or(0)
    }
}

/// Four minutes of a line before a sale that can serve a small part of the rate.
/// Answers the seconds' 95th percentiles and the calls served.
fn rush(calls_per_s: f64, think_ms: u64, is_steered: bool) -> (Vec<u64>, usize) {
    const TARGET_MS: u64 = 300;
    const RUSH_MIN: f64 = 0.001;
    let mut world = World::crowd(400.0, 8_000);
    let mut sale = Sale::new(calls_per_s, think_ms);
    let mut seconds = Vec::new();
    if is_steered {
        let begins = Strain {
            rate_min_fraction: RUSH_MIN,
            ..strain(0)
        };
        world.room.steer(&begins, world.now);
    }
    for tick in 1..=2_400_u64 {
        let now_ms = tick * TICK_MS;
        let picked = world.tick(TICK_MS).granted.len();
        sale.admit(picked, now_ms);
        let p95_ms = sale.serve(now_ms);
        if is_steered && tick % 5 == 0 {
            let said = Strain {
                permille: permille(p95_ms as f64, TARGET_MS),
                rate_min_fraction: RUSH_MIN,
                settle_ms: think_ms + 5_000,
            };
            world.room.steer(&said, world.now);
        }
        if tick % 10 == 0 {
            seconds.push(p95_ms);
        }
    }
    (seconds, sale.served)
}

#[test]
fn a_rush_becomes_a_longer_line_and_the_sale_stays_quick() {
    for (calls_per_s, think_ms) in [(10.0, 0), (10.0, 5_000), (80.0, 2_000)] {
        let (collapsed, _) = rush(calls_per_s, think_ms, false);
        assert!(
            *collapsed.last().unwrap() > 60_000,
            "it cannot carry the rate"
        );
        let (mut steered, served) = rush(calls_per_s, think_ms, true);
        let used = served as f64 / (calls_per_s * 240.0);
        steered.sort_unstable();
        let (p50, p95) = (steered[120], steered[228]);
        let shown = format!("{calls_per_s}/s after {think_ms} ms: {p50} {p95} {used:.2}");
        println!("{shown}");
        assert!(p50 <= 600 && p95 <= 3_000 && used > 0.5, "{shown}");
    }
}
