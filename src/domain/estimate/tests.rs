use proptest::prelude::*;

use super::*;

const OPEN: Observation = Observation {
    activated: 0,
    departed_unactivated: 0,
    waiting_total: 5_000,
    slots_in_use: 0,
    capacity: 100_000,
    rate_per_s: 10.0,
    slot_ms_max: 330_000,
    serving: true,
};

/// An estimator that watched for a while, a tick of 100 ms at a time; `tick` tells the number of the tick.
struct Watched {
    estimator: Estimator,
    now_ms: u64,
}

impl Watched {
    fn new() -> Self {
        Self {
            estimator: Estimator::new(),
            now_ms: 0,
        }
    }

    fn watch(&mut self, seconds: u64, tick: impl Fn(u64) -> Observation) {
        for index in 0..seconds * 10 {
            self.now_ms += 100;
            self.estimator.observe(self.now_ms, &tick(index));
        }
    }

    fn at(&self, position: u64) -> Option<Wait> {
        self.estimator.estimate(position)
    }
}

/// A lane with all slots in use, of which `turned` come free and are taken again in a second.
fn full(capacity: u64, turned: u64) -> impl Fn(u64) -> Observation {
    move |tick| Observation {
        activated: turned * (tick % 10 + 1) / 10 - turned * (tick % 10) / 10,
        capacity,
        slots_in_use: capacity,
        rate_per_s: 1_000.0,
        ..OPEN
    }
}

fn assert_holds(given: Option<Wait>, wait_s: f64) {
    let wait = given.expect("an estimate");
    let (low_s, high_s) = (wait.low_ms as f64 / 1000.0, wait.high_ms as f64 / 1000.0);
    assert!(
        (low_s..=high_s).contains(&wait_s),
        "{wait_s:.1} s is not in {low_s:.1} to {high_s:.1} s"
    );
    assert!(
        high_s - low_s <= 0.4 * wait_s + 1.0,
        "{low_s:.1} to {high_s:.1} s is too wide for {wait_s:.1} s"
    );
}

#[test]
fn with_slots_to_spare_the_rate_decides_from_the_first_tick() {
    let mut lane = Watched::new();
    lane.watch(1, |_| OPEN);
    assert_holds(lane.at(1_000), 100.0);
    assert_holds(lane.at(5_000), 500.0);
}

#[test]
fn a_full_room_moves_as_its_slots_turn_over() {
    let mut lane = Watched::new();
    lane.watch(300, full(1_000, 20));
    assert_holds(lane.at(2_000), 100.0);
}

#[test]
fn slots_taken_a_tick_before_their_activation_is_told_are_not_turnover() {
    let mut lane = Watched::new();
    // Even ticks grant four; odd ones tell of them while four others come free: 20 a second.
    lane.watch(300, |tick| Observation {
        activated: tick % 2 * 4,
        slots_in_use: 1_000 - tick % 2 * 4,
        capacity: 1_000,
        rate_per_s: 1_000.0,
        ..OPEN
    });
    assert_holds(lane.at(2_000), 100.0);
}

#[test]
fn people_leaving_ahead_shorten_the_wait() {
    let mut lane = Watched::new();
    // 10 of 5,000 leave in a second: a hazard of 1 in 500 s.
    lane.watch(300, |_| Observation {
        departed_unactivated: 1,
        activated: 1,
        ..OPEN
    });
    assert_holds(lane.at(5_000), 500.0 * 2.0_f64.ln());
}

#[test]
fn nothing_is_said_while_the_room_does_not_serve() {
    let mut lane = Watched::new();
    assert_eq!(lane.at(1), None, "nothing seen yet");
    lane.watch(60, full(1_000, 20));
    let before = lane.at(2_000);
    lane.watch(120, |tick| Observation {
        serving: false,
        activated: 0,
        ..full(1_000, 20)(tick)
    });
    assert_eq!(lane.at(2_000), None);
    lane.watch(1, full(1_000, 20));
    assert!(
        before.is_some() && lane.at(2_000).is_some(),
        "what was measured outlives the pause"
    );
    assert_holds(lane.at(2_000), 100.0);
}

#[test]
fn nothing_is_invented_before_slots_have_turned_over() {
    let filling = |tick: u64| Observation {
        activated: 5,
        slots_in_use: 5 * (tick + 1),
        capacity: 1_000,
        rate_per_s: 50.0,
        ..OPEN
    };
    let mut lane = Watched::new();
    lane.watch(5, filling);
    assert_eq!(lane.at(4_000), None, "how long slots are kept is not known");
    assert_holds(lane.at(700), 14.0);
}

#[test]
fn a_new_rate_acts_with_the_next_observation() {
    let mut lane = Watched::new();
    let ten_a_second = |_| Observation {
        activated: 1,
        ..OPEN
    };
    lane.watch(200, ten_a_second);
    assert_holds(lane.at(1_000), 100.0);
    lane.estimator.policy_changed();
    lane.watch(1, |_| Observation {
        activated: 2,
        rate_per_s: 20.0,
        ..OPEN
    });
    assert_holds(lane.at(1_000), 50.0);
}

#[test]
fn a_new_capacity_acts_with_the_next_observation() {
    let mut lane = Watched::new();
    lane.watch(300, full(1_000, 20));
    lane.estimator.policy_changed();
    // Half the capacity: 693 s of holds come to their half after 34.7 s, then 10 a second.
    lane.watch(1, |_| Observation {
        activated: 0,
        capacity: 500,
        ..full(1_000, 20)(0)
    });
    assert_holds(lane.at(1_000), 50.0 * 2.0_f64.ln() + 100.0);
}

#[test]
fn a_change_nobody_announced_is_followed_within_seconds() {
    let mut lane = Watched::new();
    lane.watch(300, full(1_000, 40));
    assert_holds(lane.at(2_000), 50.0);
    lane.watch(12, full(1_000, 10));
    // Two seconds of doubt are left in the newest ten: the range is right, and wider than usual.
    let wait = lane.at(2_000).expect("an estimate");
    assert!(
        (100_000..200_000).contains(&wait.low_ms) && (200_000..300_000).contains(&wait.high_ms),
        "{wait:?}"
    );
    lane.watch(60, full(1_000, 10));
    assert_holds(lane.at(2_000), 200.0);
}

#[test]
fn a_store_too_slow_for_the_rate_is_seen() {
    let mut lane = Watched::new();
    lane.watch(60, |tick| Observation {
        activated: tick % 2,
        ..OPEN
    });
    assert_holds(lane.at(1_000), 200.0);
}

fn assert_calibrated(seeds: std::ops::RangeInclusive<u64>) {
    let report = calibration::calibrate(seeds);
    println!("{report}");
    for (tenth, figures) in report.total.iter().enumerate() {
        let (inside, width) = (figures.inside(), figures.median_width());
        assert!(
            (0.80..=0.95).contains(&inside),
            "tenth {tenth}: {inside:.3} inside"
        );
        assert!(width <= 0.4, "tenth {tenth}: median width {width:.3}");
        assert!(figures.given() >= 0.8, "tenth {tenth}: too often silent");
        assert!(
            figures.naive_inside() < inside,
            "tenth {tenth}: no better than naive"
        );
    }
}

#[test]
fn most_real_waits_fall_inside_at_each_tenth() {
    assert_calibrated(1..=2);
}

/// The same over more rooms: `cargo test calibration -- --ignored --nocapture`.
#[test]
#[ignore = "long: a hundred rooms"]
fn calibration_holds_over_a_hundred_rooms() {
    assert_calibrated(201..=220);
}

/// Prints the cost of one estimate: `cargo test estimate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[allow(
    clippy::disallowed_methods,
    reason = "measures real time, which the domain itself never reads"
)]
fn measure_an_estimate() {
    let mut lane = Watched::new();
    lane.watch(300, full(1_000, 20));
    let started = std::time::Instant::now();
    let sum: u64 = (1..=1_000_000)
        .filter_map(|position| lane.at(position))
        .map(|wait| wait.low_ms)
        .sum();
    println!(
        "estimate: {:.1} ns ({sum})",
        started.elapsed().as_nanos() as f64 / 1e6
    );
    let started = std::time::Instant::now();
    lane.watch(10_000, full(1_000, 20));
    println!(
        "observe: {:.1} ns",
        started.elapsed().as_nanos() as f64 / 1e5
    );
}

fn observation() -> impl Strategy<Value = Observation> {
    (
        0..1_000_u64,
        0..1_000_u64,
        0..1_000_000_u64,
        0..5_000_u64,
        0..5_000_u64,
        0.0..1_000.0_f64,
        0..10_u8,
    )
        .prop_map(
            |(
                activated,
                departed_unactivated,
                waiting_total,
                slots_in_use,
                capacity,
                rate_per_s,
                serving,
            )| Observation {
                activated,
                departed_unactivated,
                waiting_total,
                slots_in_use,
                capacity,
                rate_per_s,
                slot_ms_max: 330_000,
                serving: serving > 0,
            },
        )
}

proptest! {
    #[test]
    fn whatever_is_seen_a_range_has_its_bounds_in_order(
        seen in prop::collection::vec((0..3_000_u64, observation()), 1..400),
        position in 0..100_000_000_u64,
    ) {
        let mut estimator = Estimator::new();
        let mut now_ms = 0;
        for (step_ms, observation) in &seen {
            now_ms += step_ms;
            estimator.observe(now_ms, observation);
            if let Some(wait) = estimator.estimate(position) {
                prop_assert!(observation.serving);
                prop_assert!(wait.low_ms < wait.high_ms);
            }
        }
    }

    #[test]
    fn a_place_further_back_never_waits_less(turned in 1..50_u64, near in 1..5_000_u64, behind in 0..5_000_u64) {
        let mut lane = Watched::new();
        lane.watch(40, full(1_000, turned));
        if let (Some(nearer), Some(further)) = (lane.at(near), lane.at(near + behind)) {
            prop_assert!(nearer.low_ms <= further.low_ms && nearer.high_ms <= further.high_ms);
        }
    }
}
