//! What surrounds the rules: pacing, order, merges, drains, presence.

use super::*;
use crate::domain::delta::PlaceEnded;
use crate::domain::ids::Cursor;
use crate::domain::place::{EndReason, RoomSwitches};
use crate::fanout::event::{DrainReason, RoomReason, ShownState};
use crate::view::fixture::ended;

#[test]
fn what_is_due_is_said_in_order() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(1);
    let delta = world.line.activate(1, 500);
    world.apply(&delta);
    let paused = world.line.delta(|delta| delta.facts.switches.paused = true);
    world.apply(&paused);
    world.hub.drain_all(DrainReason::Shutdown, 2_000);
    assert_eq!(
        said(&mut stream),
        ["activated", "room_changed", "drain", "end"]
    );
    assert_eq!(
        world.hub.open(world.spec(2)).err(),
        Some(OpenError::Draining)
    );
}

#[test]
fn a_pause_says_when_it_ends_and_who_ended_it() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(1);
    let mut tell = |change: &dyn Fn(&mut RoomSwitches)| {
        let delta = world.line.delta(|delta| change(&mut delta.facts.switches));
        world.apply(&delta);
        let mut news = Vec::new();
        while let Poll::Ready(Some(Ok(event))) = poll(&mut stream) {
            if let Body::RoomChanged(changed) = event.body {
                news.push(changed);
            }
        }
        let mut late = world.open(2);
        let shown = snapshot(&mut late);
        (news, shown)
    };
    let ends_at = Some(UnixMs(START_MS + 60_000));
    let (news, shown) = tell(&|switches| switches.pause("a break".to_owned(), ends_at));
    assert_eq!(news.len(), 1);
    let told = (news[0].state, news[0].reason, news[0].resumes_at);
    assert_eq!(told, (ShownState::Paused, RoomReason::Operator, ends_at));
    assert_eq!(news[0].message, "a break");
    let told = (shown.room_state, shown.resumes_at);
    assert_eq!(told, (ShownState::Paused, ends_at), "who comes later too");
    assert_eq!(shown.room_message, "a break");

    let later = Some(UnixMs(START_MS + 90_000));
    let (news, _) = tell(&|switches| switches.pause("a break".to_owned(), later));
    assert_eq!(news[0].resumes_at, later, "a moved end is news");

    let (news, shown) = tell(&|switches| switches.resume_if_due(UnixMs(START_MS + 90_000)));
    let told = (news[0].state, news[0].reason, news[0].resumes_at);
    assert_eq!(told, (ShownState::Open, RoomReason::Schedule, None));
    assert_eq!(
        (shown.resumes_at, shown.room_message),
        (None, String::new())
    );

    tell(&|switches| switches.pause("again".to_owned(), ends_at));
    let (news, _) = tell(&|switches| switches.resume("on we go".to_owned()));
    let told = (news[0].state, news[0].reason, news[0].message.as_str());
    assert_eq!(told, (ShownState::Open, RoomReason::Operator, "on we go"));
}

#[test]
fn push_delays_are_from_the_delta_to_the_transport() {
    let mut world = World::new(Line::open(10));
    let (mut first, second) = (world.watch(1), world.watch(1));
    let mut other = world.watch(2);
    assert_eq!(world.hub.streams_of(&world.room), 3, "streams, not places");
    assert_eq!(world.hub.push_delay(&world.room), None);
    let mut delta = world.line.activate(1, 500);
    Arc::make_mut(&mut delta).published_at = UnixMs(START_MS);
    world.apply(&delta);
    world.clock.advance_ms(4);
    assert_eq!(said(&mut first), ["activated"]);
    let told = world.hub.push_delay(&world.room).unwrap();
    assert_eq!((told.p50_ms, told.max_ms), (4, 4));
    drop(second);
    assert_eq!(world.hub.streams_of(&world.room), 2);

    let mut paused = world.line.delta(|delta| delta.facts.switches.paused = true);
    Arc::make_mut(&mut paused).published_at = UnixMs(START_MS);
    world.apply(&paused);
    world.clock.advance_ms(8);
    assert_eq!(said(&mut other), ["room_changed"]);
    let told = world.hub.push_delay(&world.room).unwrap();
    assert_eq!((told.p50_ms, told.p99_ms, told.max_ms), (4, 12, 12));
    // What comes by time is not news.
    world.pass(26_000);
    assert_eq!(said(&mut other), ["position"]);
    assert_eq!(world.hub.push_delay(&world.room), Some(told));
    world.pass(40_000);
    assert_eq!(world.hub.push_delay(&world.room), None, "long ago");
}

#[test]
fn a_place_far_back_is_told_less_often_than_one_in_front() {
    let mut world = World::new(Line::open(100_000));
    let (mut front, mut back) = (world.watch(20), world.watch(6_000));
    let (mut to_front, mut to_back) = (0, 0);
    for number in 1..=18 {
        world.leave(&[number]);
        world.pass(1_000);
        to_front += said(&mut front).len();
        to_back += said(&mut back).len();
    }
    assert!(to_front >= 15, "about one a second, got {to_front}");
    // 6,000 places at 10 a second: a thirtieth of ten minutes.
    assert!(to_back <= 1, "one in about 20 s, got {to_back}");
}

#[test]
fn a_client_may_only_slow_its_stream() {
    let mut world = World::new(Line::open(100));
    let slow = StreamSpec {
        min_update_interval_ms: Some(5_000),
        ..world.spec(20)
    };
    let mut stream = world.hub.open(slow).unwrap();
    assert_eq!(said(&mut stream), ["snapshot"]);
    world.leave(&[1]);
    world.pass(4_900);
    assert!(is_silent(&mut stream));
    world.pass(200);
    assert_eq!(said(&mut stream), ["position"]);
}

#[test]
fn a_merged_place_goes_on_as_its_survivor() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(9);
    let merged = world.line.delta(|delta| {
        delta.lanes[0].departed.push(9);
        delta.ended.push(PlaceEnded {
            survivor: Some(place(4)),
            ..ended(9, EndReason::Merged)
        });
    });
    world.apply(&merged);
    let now = snapshot(&mut stream);
    assert!(now.is_merged);
    assert_eq!((now.place.place, now.place.position), (place(4), Some(4)));
    world.leave(&[4]);
    assert_eq!(said(&mut stream), ["ended", "end"]);
    assert_eq!(said(&mut world.open(9))[0], "snapshot");
    drop(stream);
    assert_eq!(world.hub.counts().streams, 0);
}

fn merge(world: &mut World, place: u64, survivor: u64) {
    let merged = world.line.delta(|delta| {
        delta.lanes[0].departed.push(place);
        delta.ended.push(PlaceEnded {
            survivor: Some(super::place(survivor)),
            ..ended(place, EndReason::Merged)
        });
    });
    world.apply(&merged);
}

#[test]
fn a_merged_places_stream_is_drained_with_its_node() {
    let mut world = World::new(Line::open(10));
    let (mut before, mut after) = (world.watch(9), world.open(8));
    merge(&mut world, 9, 4);
    world.hub.drain_all(DrainReason::Shutdown, 2_000);
    merge(&mut world, 8, 3);
    assert_eq!(said(&mut before), ["snapshot", "drain", "end"]);
    assert_eq!(said(&mut after), ["snapshot", "drain", "end"]);
}

#[test]
fn a_replaced_stream_replaces_none_where_its_place_is_merged() {
    let limits = HubLimits {
        streams_per_place: 1,
        ..HubLimits::default()
    };
    let mut world = World::with_limits(Line::open(10), limits);
    let (mut older, mut newer) = (world.watch(9), world.watch(9));
    merge(&mut world, 9, 4);
    assert_eq!(said(&mut newer), ["snapshot"]);
    assert_eq!(said(&mut older), ["snapshot", "drain", "end"]);
    assert_eq!(said(&mut newer), Vec::<&str>::new());
    assert_eq!(world.hub.counts().replaced_total, 1);
}

#[test]
fn a_degraded_room_says_so_and_invents_no_position() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    world.hub.set_degraded(&world.room, true);
    let event = next(&mut stream);
    let Body::RoomChanged(news) = event.body else {
        panic!("room_changed");
    };
    assert_eq!(news.state, ShownState::Degraded);
    world.pass(25_000);
    let event = next(&mut stream);
    assert_eq!(event.body, Body::Heartbeat);
    assert_eq!(event.as_of, UnixMs(START_MS), "stale since then");
    world.hub.set_degraded(&world.room, false);
    assert_eq!(said(&mut stream), ["room_changed"]);
}

#[test]
fn a_room_without_a_view_is_degraded_until_there_is_one() {
    let mut world = World::new(Line::open(10));
    world.room = RoomId::parse("unread").unwrap();
    let mut stream = world.open(5);
    let first = snapshot(&mut stream);
    assert_eq!(first.room_state, ShownState::Degraded);
    assert_eq!(first.place.position, None);
}

#[test]
fn presence_is_reported_as_it_stands() {
    let mut world = World::new(Line::open(10));
    let (room, user) = (world.room.clone(), world.spec(5).user);
    let present = Report::Present {
        room: room.clone(),
        place: place(5),
        user,
    };
    drop(world.open(5));
    assert_eq!(world.hub.take_reports(9), [], "gone before it was told");
    let (first, second) = (world.open(5), world.open(5));
    assert_eq!(world.hub.take_reports(9), std::slice::from_ref(&present));
    drop(first);
    assert_eq!(world.hub.take_reports(9), []);
    let absent = world.line.delta(|delta| delta.absent.push(place(5)));
    world.apply(&absent);
    assert_eq!(
        world.hub.take_reports(9),
        std::slice::from_ref(&present),
        "still here"
    );
    world.line.cursor = Cursor {
        epoch: 2,
        revision: 0,
    };
    world.replace_view();
    assert_eq!(
        world.hub.take_reports(9),
        std::slice::from_ref(&present),
        "the epoch is new"
    );
    world.line.cursor.revision += 1;
    world.replace_view();
    assert_eq!(
        world.hub.take_reports(9),
        [present],
        "what was skipped may have called it absent"
    );
    drop(second);
    let (place, user) = (place(5), world.spec(5).user);
    assert_eq!(
        world.hub.take_reports(9),
        [Report::Absent { room, place, user }]
    );
}

#[test]
fn rule_7_a_known_end_is_not_followed_by_a_turn_the_view_sees_late() {
    let mut world = World::new(Line::open(10));
    let mut spec = world.spec(1);
    spec.known_end = Some(EndReason::Completed);
    let mut stream = world.hub.open(spec).unwrap();
    let late = world.line.activate(1, START_MS + 60_000);
    world.apply(&late);
    assert_eq!(said(&mut stream), ["snapshot", "ended", "end"]);
}

#[test]
fn an_end_that_nobody_here_saw_is_asked_for() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    world.hub.take_reports(9);
    world.line.departed.insert(5);
    world.line.cursor.revision += 5;
    world.replace_view();
    assert!(is_silent(&mut stream));
    let asked = world.hub.take_reports(9);
    let of_place =
        |report: &Report| matches!(report, Report::EndUnknown { place: of, .. } if *of == place(5));
    assert!(asked.iter().any(of_place));
    let reason = EndReason::Completed;
    world.hub.tell_end(&world.room, place(5), reason, None);
    assert_eq!(said(&mut stream), ["ended", "end"]);
}

#[test]
fn an_old_stream_is_asked_to_come_back() {
    let limits = HubLimits {
        stream_age_max_ms: 10_000,
        ..HubLimits::default()
    };
    let mut world = World::with_limits(Line::scheduled(10, UnixMs(1)), limits);
    let mut stream = world.watch(5);
    world.pass(10_100);
    let Body::Drain {
        reason,
        reconnect_after_ms,
    } = next(&mut stream).body
    else {
        panic!("drain");
    };
    assert_eq!(reason, DrainReason::Aged);
    assert!((500..=5_500).contains(&reconnect_after_ms));
    assert!(has_ended(&mut stream));
    assert_eq!(world.hub.counts().aged_total, 1);
}

#[test]
fn streams_beyond_the_limit_are_refused_and_counted() {
    let limits = HubLimits {
        streams_max: 1,
        ..HubLimits::default()
    };
    let world = World::with_limits(Line::open(10), limits);
    let one = world.open(1);
    let refused = world.hub.open(world.spec(2)).err();
    assert_eq!(refused, Some(OpenError::TooManyStreams { streams_max: 1 }));
    drop(one);
    drop(world.open(2));
    assert_eq!(world.hub.counts().refused_total, 1);
}

#[test]
fn a_jump_of_the_clock_ends_no_stream() {
    let mut world = World::new(Line::open(10));
    let mut stream = world.watch(5);
    world.now_ms += 3_600_000;
    world.pass(100);
    world.now_ms -= 3_800_000;
    world.pass(100);
    let all_fine = said(&mut stream);
    assert!(
        all_fine.iter().all(|name| *name == "heartbeat"),
        "{all_fine:?}"
    );
}

#[test]
fn a_forgotten_room_ends_what_is_left_of_it_and_is_known_no_more() {
    use crate::engine::ticker::OpenStreams as _;
    let world = World::new(Line::open(10));
    let mut slow = world.watch(1);
    let former = world.hub.room(&world.room).index;
    world.hub.forget(&world.room);
    assert!(world.hub.known_room(&world.room).is_none());
    // An answer to what was asked before makes no room again.
    let place = world.spec(1).place;
    world.hub.end_still_unknown(&world.room, place);
    let closed = EndReason::RoomClosed;
    world.hub.tell_end(&world.room, place, closed, None);
    assert!(world.hub.known_room(&world.room).is_none());
    // What comes under its id is another room's, also beside a slow reader.
    assert_ne!(world.hub.room(&world.room).index, former);
    assert_eq!(said(&mut slow), ["ended", "end"]);
    drop(slow);
    let left: usize = world
        .hub
        .all_shards()
        .map(|shard| shard.rooms_known())
        .sum();
    assert_eq!(left, 0);
}
