use std::sync::Arc;

use super::fixture::{Line, activation, ended, place};
use super::*;
use crate::domain::delta::{DrawOrder, RoomDelta, RoomFacts};
use crate::domain::draw::Permutation;
use crate::domain::ids::Cursor;
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::time::UnixMs;

mod following;
mod redis;
mod waiting;

fn view_of(line: &Line) -> RoomView {
    PreparedSnapshot::new(line.snapshot()).into_view()
}

fn apply(view: &mut RoomView, delta: &Arc<crate::domain::delta::RoomDelta>) -> Changes {
    match view.apply(delta) {
        Applied::Changed(changes) => changes,
        other => panic!("expected a change, got {other:?}"),
    }
}

/// Small and repeatable: tests need no better randomness.
fn shuffled(n: u64, mut state: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (1..=n).collect();
    for last in (1..numbers.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let pick = usize::try_from(state >> 33).unwrap() % (last + 1);
        numbers.swap(last, pick);
    }
    numbers
}

#[test]
fn positions_equal_a_recount_under_random_departures() {
    const N: u64 = 2_000;
    let mut line = Line::open(N);
    let mut view = view_of(&line);
    let mut waiting: Vec<u64> = (1..=N).collect();
    for left in shuffled(N, 7).chunks(97) {
        apply(&mut view, &line.leave(left));
        waiting.retain(|number| !left.contains(number));
        for (ahead, &number) in (1u64..).zip(&waiting) {
            assert_eq!(view.position(place(number)), ahead);
        }
        assert_eq!(view.waiting_total(0), waiting.len() as u64);
    }
}

#[test]
fn a_join_behind_the_tail_has_its_exact_position() {
    let mut line = Line::open(10);
    let mut view = view_of(&line);
    apply(&mut view, &line.leave(&[2, 3]));
    // Numbers 11 and 12 were issued since; the view has not heard.
    let report = view.report(place(12), None).unwrap();
    assert_eq!(report.position, Some(10));
    assert_eq!(report.waiting_total, 10, "never less than the position");
}

#[test]
fn a_delta_is_applied_once_and_only_to_its_predecessor() {
    let mut line = Line::open(10);
    let mut view = view_of(&line);
    let (second, third) = (line.leave(&[1]), line.leave(&[2]));
    assert!(matches!(view.apply(&third), Applied::Gap));
    apply(&mut view, &second);
    assert!(matches!(view.apply(&second), Applied::Covered));
    apply(&mut view, &third);
    assert_eq!(view.position(place(10)), 8);

    line.cursor = Cursor {
        epoch: 2,
        revision: 3,
    };
    assert!(matches!(view.apply(&line.leave(&[])), Applied::Gap));
    line.cursor = Cursor {
        epoch: 0,
        revision: 90,
    };
    assert!(matches!(view.apply(&line.leave(&[])), Applied::Covered));
}

#[test]
fn a_snapshot_replaces_only_what_is_older() {
    let mut line = Line::open(10);
    let older = line.snapshot();
    let mut view = view_of(&line);
    apply(&mut view, &line.leave(&[1]));
    assert!(view.apply_snapshot(PreparedSnapshot::new(older)).is_none());
    assert_eq!(view.position(place(2)), 1);

    line.cursor = Cursor {
        epoch: 2,
        revision: 0,
    };
    let newer = PreparedSnapshot::new(line.snapshot());
    let (changes, _) = view.apply_snapshot(newer).unwrap();
    assert!(matches!(
        changes,
        Changes::Whole {
            new_epoch: true,
            ..
        }
    ));
    let end = view.standing(place(1));
    assert_eq!(end, Some(Standing::Ended(EndReason::Left)), "ends are kept");
}

#[test]
fn a_place_goes_from_waiting_over_its_turn_to_its_end() {
    let mut line = Line::open(3);
    let mut view = view_of(&line);
    assert_eq!(view.standing(place(1)), Some(Standing::Waiting));
    apply(&mut view, &line.activate(1, 500));
    let report = view.report(place(1), None).unwrap();
    assert_eq!(report.state, PlaceState::Activated);
    assert_eq!(report.claim_by, Some(UnixMs(500)));
    assert_eq!(report.position, None);

    apply(&mut view, &line.claim(1, 900));
    let report = view.report(place(1), None).unwrap();
    assert_eq!(report.state, PlaceState::Active);
    assert_eq!(report.expire_time, Some(UnixMs(900)));
    assert_eq!(report.activation_id, Some(activation(1)));

    apply(&mut view, &line.end(1, EndReason::Completed));
    let report = view.report(place(1), None).unwrap();
    assert_eq!(report.state, PlaceState::Completed);
    assert_eq!(report.end, Some(EndReason::Completed));
}

#[test]
fn an_end_that_is_not_remembered_is_not_invented() {
    let mut line = Line::open(2);
    line.departed.insert(1);
    let view = view_of(&line);
    assert_eq!(view.standing(place(1)), None);
    assert_eq!(view.report(place(1), None), None);
    let told = view.report(place(1), Some(EndReason::Absent)).unwrap();
    assert_eq!(told.state, PlaceState::Expired);
}

#[test]
fn the_memory_of_ends_is_bounded() {
    let n = RECENT_ENDS_MAX as u64 + 1;
    let mut line = Line::open(n);
    let mut view = view_of(&line);
    let all: Vec<u64> = (1..=n).collect();
    apply(&mut view, &line.leave(&all));
    assert_eq!(view.standing(place(1)), None);
    let kept = Some(Standing::Ended(EndReason::Left));
    assert_eq!(view.standing(place(2)), kept);
    assert_eq!(view.standing(place(n)), kept);
}

#[test]
fn closing_ends_all_but_those_whose_activation_is_being_written() {
    let mut line = Line::open(3);
    let mut view = view_of(&line);
    let closed = line.delta(|delta| {
        delta.facts.switches.closed = true;
        delta.facts.granting = vec![place(1)];
    });
    let Changes::Delta { room_changed, .. } = apply(&mut view, &closed) else {
        panic!("a delta");
    };
    assert!(room_changed);
    assert_eq!(view.standing(place(1)), Some(Standing::Waiting));
    let over = Some(Standing::Ended(EndReason::RoomClosed));
    assert_eq!(view.standing(place(2)), over);
}

#[test]
fn a_merge_names_the_survivor() {
    let mut line = Line::open(9);
    let mut view = view_of(&line);
    let merged = line.delta(|delta| {
        delta.lanes[0].departed.push(9);
        delta.ended.push(crate::domain::delta::PlaceEnded {
            survivor: Some(place(4)),
            ..ended(9, EndReason::Merged)
        });
    });
    apply(&mut view, &merged);
    assert_eq!(view.survivor(place(9)), Some(place(4)));
}

#[test]
fn an_end_that_a_loss_undid_is_forgotten() {
    let mut line = Line::open(9);
    let mut view = view_of(&line);
    let merged = line.delta(|delta| {
        delta.lanes[0].departed.extend([8, 9]);
        delta.ended.push(ended(8, EndReason::Left));
        delta.ended.push(crate::domain::delta::PlaceEnded {
            survivor: Some(place(4)),
            ..ended(9, EndReason::Merged)
        });
    });
    apply(&mut view, &merged);
    let mut rebuilt = Line::open(9);
    rebuilt.leave(&[8]);
    rebuilt.cursor.epoch = view.cursor().epoch + 1;
    view.apply_snapshot(PreparedSnapshot::new(rebuilt.snapshot()))
        .expect("a newer epoch");
    assert_eq!(
        view.survivor(place(9)),
        None,
        "its streams would move for ever"
    );
    assert_eq!(view.standing(place(9)), Some(Standing::Waiting));
    let left = Some(Standing::Ended(EndReason::Left));
    assert_eq!(view.standing(place(8)), left, "it is still over");
}

#[test]
fn a_draw_shows_no_position_before_it_is_mapped_and_exact_ones_after() {
    const N: u64 = 500;
    let draw = DrawOrder {
        n: N,
        seed: [9; 32],
    };
    let permutation = Permutation::new(&draw.seed, N);
    let mut line = Line::scheduled(N, UnixMs(1_000));
    let mut view = view_of(&line);
    let mut gone: Vec<u64> = shuffled(N, 3)[..60].to_vec();
    apply(&mut view, &line.leave(&gone[..50]));

    // The rest of them left before the opening, and are told with it.
    let opening = line.delta(|delta| {
        delta.lanes[0].departed.extend(&gone[50..]);
        delta.lanes[0].draw = Some(draw);
        delta.facts.switches.opened = true;
    });
    apply(&mut view, &opening);
    assert_eq!(view.state(), RoomState::Scheduled);
    let report = view.report(place(N), None);
    assert!(report.is_none_or(|report| report.position.is_none()));

    // While it is mapped the line moves on, and someone joins behind it.
    let remap = view.prepare_draw().unwrap();
    let left_meanwhile = (1..=N).find(|number| !gone.contains(number)).unwrap();
    let later = line.delta(|delta| {
        delta.lanes[0].tail = N + 1;
        delta.lanes[0]
            .departed
            .push(permutation.order(left_meanwhile));
    });
    apply(&mut view, &later);
    assert_eq!(view.standing(place(left_meanwhile)), None);
    gone.push(left_meanwhile);
    assert!(view.install(remap.run()).is_some());
    assert!(view.prepare_draw().is_none());

    assert_eq!(view.state(), RoomState::Open);
    let mut waiting: Vec<u64> = (1..=N).filter(|number| !gone.contains(number)).collect();
    waiting.sort_by_key(|&number| permutation.order(number));
    waiting.push(N + 1);
    for (ahead, &number) in (1u64..).zip(&waiting) {
        assert_eq!(view.position(place(number)), ahead);
    }

    line.departed.insert(left_meanwhile);
    let fresh = view_of(&line);
    for &number in &waiting {
        assert_eq!(fresh.position(place(number)), view.position(place(number)));
    }
}

#[test]
fn a_mapping_of_another_epoch_is_not_installed() {
    let mut line = Line::scheduled(5, UnixMs(1));
    let mut view = view_of(&line);
    let opening = line.delta(|delta| {
        delta.facts.switches.opened = true;
        delta.lanes[0].draw = Some(DrawOrder {
            n: 5,
            seed: [1; 32],
        });
    });
    apply(&mut view, &opening);
    let stale = view.prepare_draw().unwrap().run();
    line.cursor = Cursor {
        epoch: 2,
        revision: 0,
    };
    view.apply_snapshot(PreparedSnapshot::new(line.snapshot()))
        .unwrap();
    assert!(view.install(stale).is_none());
    assert_eq!(view.state(), RoomState::Open);
}
