//! Waits, from the deltas a view has seen and the time it was told of.

use super::*;
use crate::domain::delta::LaneSnapshot;
use crate::domain::estimate::{Estimator, OBSERVE_EVERY_MS, Observation};
use crate::domain::rank::DepartedRank;

/// A line that moves while its view watches, a second at a time.
struct Moving {
    line: Line,
    view: RoomView,
    now_ms: u64,
    served: u64,
}

impl Moving {
    /// Slots to spare, ten activations a second.
    fn at_rate(tail: u64) -> Self {
        let mut line = Line::open(tail);
        line.facts.capacity = 100_000;
        let view = view_of(&line);
        let mut moving = Self {
            line,
            view,
            now_ms: 0,
            served: 0,
        };
        moving.observe();
        moving
    }

    fn observe(&mut self) {
        self.view.observe(self.now_ms, true);
    }

    /// Each second `turns` activations are told, and time passes.
    fn serve(&mut self, seconds: u64, turns: u64) {
        for _ in 0..seconds {
            for _ in 0..turns {
                self.served += 1;
                let mut delta = RoomDelta::clone(&self.line.activate(self.served, u64::MAX));
                self.line.facts.slots_in_use += 1;
                delta.facts.slots_in_use = self.line.facts.slots_in_use;
                apply(&mut self.view, &Arc::new(delta));
            }
            self.now_ms += OBSERVE_EVERY_MS;
            self.observe();
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut RoomFacts)) {
        let delta = self.line.delta(|delta| change(&mut delta.facts));
        apply(&mut self.view, &delta);
    }

    fn wait(&self, position: u64) -> Option<WaitRange> {
        self.view.estimate(0, position)
    }
}

fn assert_holds(given: Option<WaitRange>, wait_ms: u64) {
    let given = given.expect("an estimate");
    assert!(
        (given.low_ms..=given.high_ms).contains(&wait_ms),
        "{given:?}"
    );
    assert!(
        given.high_ms - given.low_ms <= wait_ms * 2 / 5 + 1_000,
        "{given:?}"
    );
}

#[test]
fn a_rate_bound_line_is_estimated_as_the_estimator_does() {
    let mut moving = Moving::at_rate(5_000);
    moving.serve(60, 10);
    let mut bare = Estimator::new();
    for second in 0..=60u64 {
        let seen = Observation {
            activated: if second == 0 { 0 } else { 10 },
            departed_unactivated: 0,
            waiting_total: 5_000 - 10 * second,
            slots_in_use: 10 * second,
            capacity: 100_000,
            rate_per_s: 10.0,
            slot_ms_max: 90_000,
            serving: true,
        };
        bare.observe(second * OBSERVE_EVERY_MS, &seen);
    }
    for position in [1, 500, 4_400] {
        assert_eq!(moving.wait(position), bare.estimate(position));
        assert_holds(moving.wait(position), position * 100);
    }
    let report = moving.view.report(place(1_600), None).unwrap();
    assert_eq!(report.position, Some(1_000));
    assert_eq!(report.estimated_wait, moving.wait(1_000));
    let newcomer = moving.view.waiting_total(0) + 1;
    assert_holds(moving.wait(newcomer), newcomer * 100);
}

#[test]
fn departures_ahead_shorten_the_wait() {
    let mut moving = Moving::at_rate(50_000);
    moving.serve(5, 10);
    let steady = moving.wait(20_000).unwrap();
    for second in 0..60 {
        let from = 30_000 + second * 100;
        let left: Vec<u64> = (from..from + 100).collect();
        let delta = moving.line.leave(&left);
        apply(&mut moving.view, &delta);
        moving.serve(1, 10);
    }
    assert!(moving.wait(20_000).unwrap().high_ms < steady.low_ms);
}

#[test]
fn nothing_is_estimated_before_time_was_seen() {
    let view = view_of(&Line::open(100));
    assert_eq!(view.estimate(0, 1), None);
    assert_eq!(view.estimate(7, 1), None, "nor in a lane there is not");
}

#[test]
fn a_paused_room_tells_no_wait_until_it_serves_again() {
    let mut moving = Moving::at_rate(5_000);
    moving.serve(60, 10);
    let before = moving.wait(1_000);
    moving.change(|facts| facts.switches.paused = true);
    assert_eq!(moving.wait(1_000), None, "at once");
    let report = moving.view.report(place(2_000), None).unwrap();
    assert_eq!(
        (report.position, report.estimated_wait),
        (Some(1_400), None)
    );
    moving.serve(120, 0);
    assert_eq!(moving.wait(1_000), None);
    moving.change(|facts| facts.switches.paused = false);
    moving.serve(1, 10);
    assert_eq!(moving.wait(1_000), before, "the pause was no slow second");
}

#[test]
fn a_rebuilt_room_tells_no_wait_until_it_serves_again() {
    let mut moving = Moving::at_rate(5_000);
    moving.serve(60, 10);
    let before = moving.wait(1_000);
    moving.line.cursor = Cursor {
        epoch: 2,
        revision: 0,
    };
    moving.line.facts.rebuilding = true;
    let prepared = PreparedSnapshot::new(moving.line.snapshot());
    moving.view.apply_snapshot(prepared).unwrap();
    assert_eq!(moving.wait(1_000), None);
    moving.serve(10, 0);
    assert_eq!(moving.wait(1_000), None);
    moving.change(|facts| facts.rebuilding = false);
    moving.serve(1, 10);
    assert_eq!(moving.wait(1_000), before);
}

#[test]
fn nothing_is_concluded_across_a_hole() {
    let mut moving = Moving::at_rate(50_000);
    moving.serve(60, 10);
    let before = moving.wait(1_000);
    // Ten thousand left, of which the view read only the result.
    let gone: Vec<u64> = (20_000..30_000).collect();
    drop(moving.line.leave(&gone));
    let prepared = PreparedSnapshot::new(moving.line.snapshot());
    moving.view.apply_snapshot(prepared).unwrap();
    moving.serve(2, 10);
    assert_eq!(moving.wait(1_000), before);
}

#[test]
fn a_view_that_is_stale_or_cut_off_tells_no_wait() {
    let mut moving = Moving::at_rate(5_000);
    moving.serve(60, 10);
    let before = moving.wait(1_000);
    moving.view.set_behind(true);
    moving.serve(30, 0);
    assert_eq!(moving.wait(1_000), None);
    moving.view.set_behind(false);
    moving.observe();
    assert_eq!(moving.wait(1_000), before);
    moving.view.observe(moving.now_ms, false);
    assert_eq!(moving.wait(1_000), None);
    moving.observe();
    assert_eq!(moving.wait(1_000), before);
}

#[test]
fn a_new_rate_acts_with_the_delta_that_says_it() {
    let mut moving = Moving::at_rate(5_000);
    moving.serve(60, 10);
    assert_holds(moving.wait(1_000), 100_000);
    moving.change(|facts| facts.rate_per_s = 40.0);
    assert_holds(moving.wait(1_000), 25_000);
}

#[test]
fn lanes_share_the_rate_by_weight_while_someone_waits_in_them() {
    let mut line = Line::open(5_000);
    line.facts.capacity = 100_000;
    line.facts.lane_weights = vec![3, 1];
    let snapshot = |line: &Line, second_tail| {
        let mut snapshot = line.snapshot();
        snapshot.lanes.push(LaneSnapshot {
            lane: 1,
            head: 1,
            tail: second_tail,
            draw: None,
            departed_numbers: DepartedRank::new(),
        });
        PreparedSnapshot::new(snapshot).into_view()
    };
    let mut both = snapshot(&line, 5_000);
    both.observe(0, true);
    assert_holds(both.estimate(0, 750), 100_000);
    assert_holds(both.estimate(1, 250), 100_000);
    let mut one = snapshot(&line, 0);
    one.observe(0, true);
    assert_holds(one.estimate(0, 1_000), 100_000);
    assert_holds(one.estimate(1, 1), 400);
    // Another weight acts with the delta that says it.
    line.facts.lane_weights = vec![1, 1];
    let delta = line.delta(|_| {});
    assert!(matches!(both.apply(&delta), Applied::Changed(_)));
    assert_holds(both.estimate(1, 500), 100_000);
}
