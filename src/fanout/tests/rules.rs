//! The stream's rules, each by its number in the contract.

use super::*;
use crate::domain::ids::Cursor;
use crate::domain::place::EndReason;
use crate::fanout::event::{RoomReason, ShownState};
use crate::view::PlaceState;
use crate::view::fixture::activation;

fn resuming(world: &World, revision: u64) -> Subscription {
    let resume = Some(Cursor { epoch: 1, revision });
    let spec = world.spec(5);
    world.hub.open(StreamSpec { resume, ..spec }).unwrap()
}

#[test]
fn rule_1_a_stream_starts_with_one_snapshot_of_the_whole_state() {
    let mut world = World::new(Line::open(10));
    world.leave(&[1, 2]);
    let mut stream = world.open(5);
    let first = snapshot(&mut stream);
    assert_eq!(first.place.position, Some(3));
    assert_eq!(first.place.waiting_total, 8);
    assert_eq!(first.room_state, ShownState::Open);
    assert_eq!(first.heartbeat_interval_ms, 25_000);
    assert!(!first.resumed);
    assert!(is_silent(&mut stream));
    assert!(snapshot(&mut resuming(&world, 2)).resumed);
}

#[test]
fn rule_1_a_view_behind_the_clients_cursor_waits_two_ticks_at_most() {
    let mut world = World::new(Line::open(10));
    let mut stream = resuming(&world, 2);
    assert!(is_silent(&mut stream));
    world.pass(100);
    assert!(is_silent(&mut stream));
    world.pass(100);
    assert!(!snapshot(&mut stream).resumed, "treated as unknown");

    let mut stream = resuming(&world, 2);
    assert!(is_silent(&mut stream));
    world.leave(&[1]);
    world.pass(100);
    assert!(snapshot(&mut stream).resumed, "the view has caught up");
}

#[test]
fn rule_2_a_position_is_sent_only_with_a_larger_cursor() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    world.pass(1_000);
    assert_eq!(said(&mut stream), ["heartbeat"]);
    world.leave(&[1, 2]);
    assert!(is_silent(&mut stream), "positions come by pacing");
    world.pass(1_000);
    let event = next(&mut stream);
    assert_eq!(event.cursor, world.line.cursor);
    assert!(matches!(
        event.body,
        Body::Position {
            position: 3,
            waiting_total: 8,
            ..
        }
    ));
    world.pass(1_000);
    assert_eq!(said(&mut stream), ["heartbeat"]);
}

#[test]
fn rule_2_a_new_epoch_is_visible_and_may_be_worse_once() {
    let mut world = World::new(Line::open(10));
    world.leave(&[1, 2, 3]);
    let mut stream = world.watch(5);
    world.line = Line::open(10);
    world.line.cursor = Cursor {
        epoch: 2,
        revision: 0,
    };
    world.replace_view();
    assert!(is_silent(&mut stream), "spread over two seconds");
    world.pass(2_100);
    let event = next(&mut stream);
    assert_eq!(event.cursor.epoch, 2);
    assert!(matches!(event.body, Body::Position { position: 5, .. }));
}

#[test]
fn rule_3_activated_is_said_at_the_activation_and_at_the_claim() {
    let mut world = World::new(Line::open(10));
    let mut streams = [world.watch(1), world.watch(1)];
    let (delta, claim) = (world.line.activate(1, 500), world.line.claim(1, 900));
    world.apply(&delta);
    for stream in &mut streams {
        let Body::Activated(turn) = next(stream).body else {
            panic!("activated");
        };
        assert_eq!(turn.activation_id, activation(1));
        assert_eq!((turn.claim_by, turn.pass), (Some(UnixMs(500)), None));
        assert!(is_silent(stream));
    }
    world.apply(&claim);
    let passes: Vec<_> = streams
        .iter_mut()
        .map(|stream| match next(stream).body {
            Body::Activated(turn) => (turn.expire_time, turn.pass.unwrap()),
            other => panic!("activated, got {other:?}"),
        })
        .collect();
    assert_eq!(passes[0], passes[1]);
    assert_eq!(passes[0].0, Some(UnixMs(900)));
    assert!(streams.iter_mut().all(is_silent));
    assert_eq!(said(&mut world.open(1)), ["snapshot", "activated"]);
    assert!(world.line.live.len() == 1);
}

#[test]
fn rule_4_a_slow_reader_gets_the_newest_state_and_no_backlog() {
    let mut world = World::new(Line::open(50));
    let mut stream = world.watch(50);
    for number in 1..=40 {
        world.leave(&[number]);
        world.pass(200);
    }
    let event = next(&mut stream);
    assert!(matches!(event.body, Body::Position { position: 10, .. }));
    assert!(is_silent(&mut stream));
}

#[test]
fn rule_4_one_that_takes_nothing_for_write_stall_ends_with_slow_reader() {
    let mut world = World::new(Line::open(50));
    let mut stream = world.watch(5);
    world.pass(1_000);
    world.pass(29_900);
    assert_eq!(world.hub.counts().slow_readers_total, 0);
    world.pass(200);
    assert_eq!(said(&mut stream), ["slow", "end"]);
    assert_eq!(world.hub.counts().slow_readers_total, 1);
}

#[test]
fn rule_5_silence_never_exceeds_the_heartbeat_interval() {
    for line in [
        Line::scheduled(10, UnixMs(9_000_000)),
        Line::open(1_000_000),
    ] {
        let mut world = World::new(line);
        let mut stream = world.watch(10);
        let mut silent_ms = 0;
        for _ in 0..2_000 {
            world.pass(100);
            silent_ms = match said(&mut stream).is_empty() {
                true => silent_ms + 100,
                false => 0,
            };
            assert!(silent_ms < 25_000);
        }
    }
}

#[test]
fn rule_6_the_fourth_stream_of_a_place_replaces_the_oldest() {
    let world = World::new(Line::open(10));
    let mut streams: Vec<_> = (0..4).map(|_| world.watch(5)).collect();
    assert_eq!(said(&mut streams[0]), ["drain", "end"]);
    assert!(streams[1..].iter_mut().all(is_silent));
    assert_eq!(world.hub.counts().replaced_total, 1);
}

#[test]
fn rule_6_an_end_that_was_asked_for_is_ok_without_ended() {
    let mut world = World::new(Line::open(10));
    let spec = world.spec(1);
    let mut asked = world
        .hub
        .open(StreamSpec {
            end_on_activation: true,
            ..spec.clone()
        })
        .unwrap();
    let max_duration_ms = Some(700);
    let mut short = world
        .hub
        .open(StreamSpec {
            max_duration_ms,
            ..spec
        })
        .unwrap();
    assert_eq!(said(&mut asked), ["snapshot"]);
    assert_eq!(said(&mut short), ["snapshot"]);
    world.pass(700);
    assert_eq!(said(&mut short), ["end"]);
    let delta = world.line.activate(1, 500);
    world.apply(&delta);
    assert_eq!(said(&mut asked), ["activated", "end"]);
}

#[test]
fn rule_7_a_finished_place_gets_snapshot_ended_and_the_end() {
    let mut world = World::new(Line::open(10));
    let mut open = world.watch(5);
    world.leave(&[5]);
    assert_eq!(said(&mut open), ["ended", "end"]);
    let mut late = world.open(5);
    assert_eq!(snapshot(&mut late).place.state, PlaceState::Left);
    let Body::Ended { state, reason } = next(&mut late).body else {
        panic!("ended");
    };
    assert_eq!((state, reason), (PlaceState::Left, EndReason::Left));
    assert!(has_ended(&mut late));
}

#[test]
fn rule_8_before_opening_the_stream_says_opens_at_once() {
    let opens_at = UnixMs(START_MS + 60_000);
    let mut world = World::new(Line::scheduled(10, opens_at));
    let mut stream = world.open(5);
    let event = next(&mut stream);
    assert_eq!(event.as_of, UnixMs(START_MS));
    let Body::Snapshot(first) = event.body else {
        panic!("a snapshot");
    };
    assert_eq!(first.place.state, PlaceState::Scheduled);
    assert_eq!(first.place.opens_at, Some(opens_at));
    assert_eq!(first.place.position, None);
    world.pass(20_000);
    assert!(is_silent(&mut stream));
    world.pass(5_000);
    assert_eq!(said(&mut stream), ["heartbeat"]);

    let opened = world.line.delta(|delta| delta.facts.switches.opened = true);
    world.apply(&opened);
    let Body::RoomChanged(news) = next(&mut stream).body else {
        panic!("room_changed");
    };
    assert_eq!(news.state, ShownState::Open);
    assert_eq!(news.reason, RoomReason::Schedule);
    world.pass(2_000);
    assert_eq!(said(&mut stream), ["position"]);
}
