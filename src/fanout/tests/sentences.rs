//! Sentences of the contract beside those in `rules`, each by its rule's number.

use super::*;
use crate::domain::ids::Cursor;
use crate::fanout::event::{DrainReason, ShownState};
use crate::view::PlaceState;

fn resuming(world: &World, epoch: u64, revision: u64) -> Subscription {
    let spec = StreamSpec {
        resume: Some(Cursor { epoch, revision }),
        ..world.spec(5)
    };
    world.hub.open(spec).unwrap()
}

#[test]
fn rule_1_the_stream_carries_states_not_a_log() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(9);
    for paused in [true, false, true] {
        let delta = world
            .line
            .delta(|delta| delta.facts.switches.paused = paused);
        world.apply(&delta);
    }
    world.leave(&[1]);
    world.leave(&[2, 3]);
    world.pass(25_000);
    let Body::RoomChanged(news) = next(&mut stream).body else {
        panic!("room_changed");
    };
    assert_eq!(news.state, ShownState::Paused);
    world.pass(100);
    let told = next(&mut stream).body;
    assert!(
        matches!(told, Body::Position { position: 6, .. }),
        "{told:?}"
    );
    assert!(is_silent(&mut stream), "once each, as it is now");
}

#[test]
fn rule_1_resumed_means_the_same_epoch_and_a_cursor_not_ahead_of_the_view() {
    let mut line = Line::open(10);
    line.cursor = Cursor {
        epoch: 2,
        revision: 7,
    };
    let mut world = World::new(line);
    for (epoch, revision, resumed) in [
        (2, 7, true),
        (2, 0, true),
        (2, 8, false),
        (2, u64::MAX, false),
        (1, 7, false),
        (0, 0, false),
        (3, 0, false),
        (u64::MAX, u64::MAX, false),
    ] {
        let mut stream = resuming(&world, epoch, revision);
        world.pass(200);
        let first = snapshot(&mut stream);
        assert_eq!(first.resumed, resumed, "{epoch}-{revision}");
        assert_eq!(
            first.place.position,
            Some(5),
            "the whole state all the same"
        );
    }
}

#[test]
fn rule_1_a_clients_cursor_never_causes_a_store_read() {
    let mut world = World::new(Line::open(10));
    let mut streams: Vec<_> = [(0, 0), (1, 9), (2, 0), (u64::MAX, u64::MAX)]
        .map(|(epoch, revision)| resuming(&world, epoch, revision))
        .into();
    world.pass(1_000);
    for stream in &mut streams {
        snapshot(stream);
    }
    let reports = world.hub.take_reports(99);
    assert!(
        reports
            .iter()
            .all(|report| matches!(report, Report::Present { .. })),
        "the engine is asked for nothing: {reports:?}"
    );
}

#[test]
fn rule_2_what_is_due_without_news_is_a_heartbeat() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    for _ in 0..5 {
        // The view's estimate ages meanwhile; that alone is no position.
        world.pass(1_000);
        assert_eq!(said(&mut stream), ["heartbeat"]);
    }
    world.leave(&[9]);
    world.pass(1_000);
    assert_eq!(
        said(&mut stream),
        ["position"],
        "a larger cursor, though nobody ahead left"
    );
}

#[test]
fn rule_2_a_cursor_may_repeat_and_never_decreases() {
    let mut world = World::new(Line::open(30));
    let mut stream = world.open(30);
    let (mut cursors, mut kinds) = (Vec::new(), Vec::new());
    for step in 1..=24 {
        match step % 4 {
            0 => world.leave(&[step]),
            1 => {
                let paused = step % 8 == 1;
                let delta = world
                    .line
                    .delta(|delta| delta.facts.switches.paused = paused);
                world.apply(&delta);
            }
            2 => world.hub.set_degraded(&world.room, step % 8 == 2),
            _ => world.pass(25_000),
        }
        while let Poll::Ready(Some(Ok(event))) = poll(&mut stream) {
            cursors.push(event.cursor);
            kinds.push(name(&event.body));
        }
    }
    assert!(cursors.is_sorted(), "{cursors:?}");
    assert!(
        cursors.windows(2).any(|two| two[0] == two[1]),
        "some repeat"
    );
    for kind in ["snapshot", "room_changed", "position", "heartbeat"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn rule_2_within_an_epoch_a_position_never_grows() {
    let mut world = World::new(Line::open(10));
    world.leave(&[1, 2, 3]);
    let mut stream = world.watch(9);
    // Whatever a view may say: here that nobody ever left.
    let cursor = world.line.cursor;
    world.line = Line::open(10);
    world.line.cursor = Cursor {
        revision: cursor.revision + 5,
        ..cursor
    };
    world.replace_view();
    for _ in 0..5 {
        world.pass(25_000);
        assert!(said(&mut stream).iter().all(|name| *name == "heartbeat"));
    }
    world.leave(&[1, 2, 3, 4]);
    world.pass(25_000);
    let told = next(&mut stream).body;
    assert!(
        matches!(told, Body::Position { position: 5, .. }),
        "{told:?}"
    );
}

#[test]
fn rule_3_activated_follows_every_snapshot_in_activated_and_active() {
    let mut world = World::new(Line::open(10));
    let (activated, claimed) = (world.line.activate(1, 500), world.line.claim(1, 900));
    for (delta, state) in [
        (activated, PlaceState::Activated),
        (claimed, PlaceState::Active),
    ] {
        world.apply(&delta);
        for resume in [None, Some(world.line.cursor)] {
            let spec = world.spec(1);
            let mut stream = world.hub.open(StreamSpec { resume, ..spec }).unwrap();
            world.pass(200);
            assert_eq!(snapshot(&mut stream).place.state, state);
            assert_eq!(said(&mut stream), ["activated"]);
        }
    }
}

#[test]
fn rule_4_a_stream_that_takes_nothing_is_presence_no_longer() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    assert_eq!(world.hub.take_reports(9).len(), 1, "present");
    world.pass(31_100);
    let (room, place) = (world.room.clone(), place(5));
    let user = world.spec(5).user;
    assert_eq!(
        world.hub.take_reports(9),
        [Report::Absent { room, place, user }]
    );
    let back = world.watch(5);
    assert_eq!(said(&mut stream), ["slow", "end"]);
    drop(stream);
    let reports = world.hub.take_reports(9);
    assert!(
        matches!(&reports[..], [Report::Present { .. }]),
        "{reports:?}"
    );
    drop(back);
    assert_eq!(world.hub.take_reports(9).len(), 1, "absent");
    assert_eq!(world.hub.counts().streams, 0);
}

#[test]
fn rule_6_each_drain_says_why_and_when_to_come_back() {
    let mut world = World::new(Line::open(10));
    let mut streams: Vec<_> = (0..4).map(|_| world.watch(5)).collect();
    world.hub.drain_all(DrainReason::Shutdown, 2_000);
    world.pass(100);
    let mut told = Vec::new();
    for stream in &mut streams {
        let Body::Drain {
            reason,
            reconnect_after_ms,
        } = next(stream).body
        else {
            panic!("drain");
        };
        assert!(reconnect_after_ms >= 500, "{reconnect_after_ms}");
        assert!(has_ended(stream));
        told.push(reason);
    }
    use DrainReason::{Replaced, Shutdown};
    assert_eq!(told, [Replaced, Shutdown, Shutdown, Shutdown]);
}

#[test]
fn a_stream_that_never_ages_is_not_drained() {
    let limits = HubLimits {
        stream_age_max_ms: u64::MAX,
        ..HubLimits::default()
    };
    let mut world = World::with_limits(Line::open(10), limits);
    let mut stream = world.watch(5);
    for _ in 0..5 {
        world.pass(10_000);
        assert_eq!(said(&mut stream), ["heartbeat"]);
    }
    assert_eq!(world.hub.counts().aged_total, 0);
}
