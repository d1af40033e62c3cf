//! The stream's rules, over the wire.

use std::time::Duration;

use tonic::Code;
use usher::clock::{Clock, SystemClock};
use usher::proto::v1 as wire;
use wire::watch_response::Event;
use wire::{DrainReason, EndReason, PlaceState, RoomState};

use crate::harness::{TestApp, soon};
use crate::people::{Ticket, User, reason};
use crate::sale::{PRICE_MINOR, policy, span_ms};

/// The shortest there is: positions and heartbeats come within a second.
const LIVELY: [(&str, &str); 1] = [("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")];

/// Nobody gets a turn.
fn standing_still() -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity: 0,
        ..policy()
    }
}

fn request(ticket: &Ticket) -> wire::WatchRequest {
    wire::WatchRequest {
        place_token: ticket.token.clone(),
        ..wire::WatchRequest::default()
    }
}

async fn join_all(app: &TestApp, room: &str, count: usize) -> Vec<(User, Ticket)> {
    let mut joined = Vec::new();
    for index in 0..count {
        let user = app.user(&format!("user-{index}"));
        let ticket = user.join(room).await;
        joined.push((user, ticket));
    }
    joined
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_gets_one_snapshot_that_says_whether_it_resumed() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let mut first = alice.watch(&ticket.token).await;
    let snapshot = first.snapshot().await;
    assert!(!snapshot.resumed);
    assert_eq!(snapshot.heartbeat_interval, span_ms(25_000));
    let (epoch, revision) = first.cursor;
    for (epoch, revision, resumed) in [
        (epoch, revision, true),
        (epoch, 0, true),
        (epoch, revision + 1_000, false),
        (epoch, u64::MAX, false),
        (epoch + 1, 0, false),
        (u64::MAX, u64::MAX, false),
        (epoch - 1, revision, false),
        (0, 0, false),
    ] {
        let resuming = wire::WatchRequest {
            resume: Some(wire::Cursor { epoch, revision }),
            ..request(&ticket)
        };
        let mut stream = alice.watch_as(resuming).await.expect("a stream");
        let snapshot = stream.snapshot().await;
        assert_eq!(snapshot.resumed, resumed, "{epoch}-{revision}");
        assert_eq!(snapshot.place.expect("a place").position, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_an_epoch_a_position_never_grows_and_counts_out_who_left() {
    let app = TestApp::start_with(&LIVELY).await;
    let room = app.make_room("room", standing_still()).await;
    let mut line = join_all(&app, &room, 12).await;
    let (last, ticket) = line.pop().expect("the last");
    let mut stream = last.watch(&ticket.token).await;
    let place = stream.snapshot().await.place.expect("a place");
    assert_eq!((place.position, place.waiting_total), (Some(12), 12));
    for (index, (user, ticket)) in line.iter().enumerate() {
        user.leave(&ticket.token).await.expect("left");
        let ahead = (line.len() - 1 - index) as u64;
        // `Watching` itself holds that none is larger than the one before.
        let pick = |event| match event {
            Event::Position(told) if told.position == ahead + 1 => Some(told.waiting_total),
            _ => None,
        };
        if index % 4 == 0 || ahead == 0 {
            let total = stream.until("the position", pick).await;
            assert_eq!(total, ahead + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activated_follows_every_snapshot_and_reaches_every_tab_twice() {
    let app = TestApp::start().await;
    let room = app.make_room("room", policy()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let (mut one, mut two) = (
        alice.watch(&ticket.token).await,
        alice.watch(&ticket.token).await,
    );
    let turn = one.activated().await;
    assert_eq!(two.activated().await, turn);
    assert!(turn.claim_by.is_some() && turn.pass.is_none());

    let mut late = alice.watch(&ticket.token).await;
    let place = late.snapshot().await.place.expect("a place");
    assert_eq!(place.state(), PlaceState::Activated);
    assert_eq!(place.activation_id.as_ref(), Some(&turn.activation_id));
    assert_eq!(late.event().await, Event::Activated(turn.clone()));

    let claimed = alice.claim(&ticket.token).await.expect("claimed");
    let active = one.activated().await;
    assert_eq!(active.activation_id, turn.activation_id);
    assert_eq!(active.pass.as_ref(), Some(&claimed.pass));
    assert_eq!(active.expire_time, claimed.expire_time);
    assert_eq!(two.activated().await, active);
    assert_eq!(late.activated().await, active);

    drop((one, two, late));
    let mut again = alice.watch(&ticket.token).await;
    let place = again.snapshot().await.place.expect("a place");
    assert_eq!(place.state(), PlaceState::Active);
    assert_eq!(again.event().await, Event::Activated(active));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_is_the_same_after_its_rooms_ttl_was_changed_and_a_restart() {
    let app = TestApp::start().await;
    let no_window = wire::RoomPolicy {
        claim_window: span_ms(0),
        ..policy()
    };
    let room = app.make_room("room", no_window.clone()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let turn = alice.watch(&ticket.token).await.activated().await;
    let root = app.admin();
    let longer = wire::RoomPolicy {
        pass_ttl: span_ms(3_600_000),
        ..no_window
    };
    let asked = wire::GetRoomRequest {
        room_id: room.clone(),
    };
    let shown = root.queue().get_room(asked).await;
    let etag = shown.expect("shown").into_inner().room;
    let change = wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room,
            policy: Some(longer),
            ..wire::Room::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["policy.pass_ttl".to_owned()],
        }),
        etag: etag.expect("a room").etag,
    };
    let changed = root.operator().update_room(root.ask(change)).await;
    changed.expect("changed");
    let again = alice.watch(&ticket.token).await.activated().await;
    assert_eq!(again, turn);
    // Without the signatures that the node remembered.
    let app = app.restart(&[]).await;
    let alice = app.user("alice");
    let again = alice.watch(&ticket.token).await.activated().await;
    assert_eq!(again.pass, turn.pass);
    let claimed = alice.claim(&ticket.token).await.expect("claimed");
    assert_eq!(Some(claimed.pass), turn.pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_claim_window_a_place_goes_to_active_directly() {
    let app = TestApp::start().await;
    let no_window = wire::RoomPolicy {
        claim_window: span_ms(0),
        ..policy()
    };
    let room = app.make_room("room", no_window).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let turn = alice.watch(&ticket.token).await.activated().await;
    assert!(turn.claim_by.is_none() && turn.expire_time.is_some());
    let claimed = alice.claim(&ticket.token).await.expect("claimed");
    assert_eq!(Some(claimed.pass), turn.pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fourth_stream_of_a_place_replaces_the_oldest() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = alice.watch(&ticket.token).await;
        stream.snapshot().await;
        streams.push(stream);
    }
    let drain = streams[0].drain().await;
    assert_eq!(drain.reason(), DrainReason::Replaced);
    alice.leave(&ticket.token).await.expect("left");
    for stream in &mut streams[1..] {
        assert_eq!(stream.ended().await.reason(), EndReason::Left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_ok_when_its_client_asked_for_it() {
    let app = TestApp::start().await;
    let still = app.make_room("still", standing_still()).await;
    let alice = app.user("alice");
    let short = wire::WatchRequest {
        max_duration: span_ms(300),
        ..request(&alice.join(&still).await)
    };
    let mut stream = alice.watch_as(short).await.expect("a stream");
    stream.snapshot().await;
    stream.over().await;

    let moving = app.make_room("moving", policy()).await;
    let once = wire::WatchRequest {
        end_on_activation: Some(true),
        ..request(&alice.join(&moving).await)
    };
    for _ in 0..2 {
        let mut stream = alice.watch_as(once.clone()).await.expect("a stream");
        stream.activated().await;
        stream.over().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_finished_place_gets_snapshot_ended_ok() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let mut tabs = [
        alice.watch(&ticket.token).await,
        alice.watch(&ticket.token).await,
    ];
    alice.leave(&ticket.token).await.expect("left");
    alice
        .leave(&ticket.token)
        .await
        .expect("leaving is idempotent");
    for tab in &mut tabs {
        let ended = tab.ended().await;
        assert_eq!(
            (ended.state(), ended.reason()),
            (PlaceState::Left, EndReason::Left)
        );
    }
    let mut stream = alice.watch(&ticket.token).await;
    let place = stream.snapshot().await.place.expect("a place");
    assert_eq!((place.state(), place.position), (PlaceState::Left, None));
    assert_eq!(stream.ended().await.reason(), EndReason::Left);
    let refused = alice.claim(&ticket.token).await.expect_err("over");
    assert_eq!(reason(&refused), "PASS_ENDED");
    // A join gives a new place, at the end.
    let again = alice.join(&room).await;
    assert!(again.place.number > ticket.place.number);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_an_error_before_any_message() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let (alice, mallory) = (app.user("alice"), app.user("mallory"));
    let ticket = alice.join(&room).await;
    let mut changed = ticket.token.clone();
    let last = changed.pop().expect("a character");
    changed.push(if last == 'A' { 'B' } else { 'A' });
    let long = "A".repeat(10_240);
    for token in [changed.as_str(), "x", "..", "a.b.c", &long, "\u{202e}"] {
        let request = wire::WatchRequest {
            place_token: token.to_owned(),
            ..wire::WatchRequest::default()
        };
        let refused = alice.watch_as(request).await.err().expect("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{token:?}");
        assert_eq!(refused.message(), "credentials are missing or not valid");
    }
    let foreign = mallory.watch_as(request(&ticket)).await;
    let foreign = foreign.err().expect("refused");
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert_eq!(reason(&foreign), "TOKEN_USER_MISMATCH");
    for refused in [
        mallory.claim(&ticket.token).await.map(drop),
        mallory.leave(&ticket.token).await,
    ] {
        assert_eq!(
            reason(&refused.expect_err("refused")),
            "TOKEN_USER_MISMATCH"
        );
    }
    assert_eq!(
        alice.place(&ticket.token).await.state(),
        PlaceState::Waiting
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_resume_and_close_are_pushed_to_the_whole_line() {
    let app = TestApp::start().await;
    let slow = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", slow).await;
    let root = app.admin();
    let line = join_all(&app, &room, 3).await;
    let mut streams = Vec::new();
    for (user, ticket) in &line {
        let mut stream = user.watch(&ticket.token).await;
        stream.snapshot().await;
        streams.push(stream);
    }
    streams[0].activated().await;

    root.pause(&room).await;
    for stream in &mut streams {
        let news = stream.room_changed(RoomState::Paused).await;
        assert_eq!(news.message, "back soon");
    }
    let joined = app.user("late").join(&room).await;
    assert_eq!(joined.place.state(), PlaceState::Waiting);
    // A slot that is free stays free while the room rests.
    line[0].0.leave(&line[0].1.token).await.expect("left");
    assert_eq!(streams[0].ended().await.reason(), EndReason::Left);
    root.resume(&room).await;
    for stream in &mut streams[1..] {
        let news = stream.room_changed(RoomState::Open).await;
        assert_eq!(news.message, "on we go");
    }
    streams[1].activated().await;

    root.close(&room).await;
    let ended = streams[2].ended().await;
    assert_eq!(
        (ended.state(), ended.reason()),
        (PlaceState::Expired, EndReason::RoomClosed)
    );
    // Whoever has a turn keeps it.
    let news = streams[1].room_changed(RoomState::Closed).await;
    assert_eq!(news.message, "that was it");
    line[1].0.claim(&line[1].1.token).await.expect("claimed");
    let refused = app
        .user("later")
        .try_join(&room)
        .await
        .err()
        .expect("closed");
    assert_eq!(reason(&refused), "ROOM_CLOSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_with_an_end_is_told_and_ends_by_itself() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", one_at_a_time).await;
    let root = app.admin();
    let line = join_all(&app, &room, 2).await;
    let (first, next) = (&line[0], &line[1]);
    first.0.watch(&first.1.token).await.activated().await;
    let mut stream = next.0.watch(&next.1.token).await;
    stream.snapshot().await;

    let ends_at_ms = i64::try_from(SystemClock.now().0 + 10_000).expect("this era");
    let ends_at = prost_types::Timestamp {
        seconds: ends_at_ms / 1_000,
        nanos: i32::try_from(ends_at_ms % 1_000 * 1_000_000).expect("small"),
    };
    let pause = wire::PauseRoomRequest {
        room_id: room.clone(),
        message: Some("back in a moment".to_owned()),
        resumes_at: Some(ends_at),
    };
    let paused = root.operator().pause_room(root.ask(pause)).await;
    let shown = paused.expect("OK").into_inner().room.expect("a room");
    assert_eq!(shown.resumes_at, Some(ends_at));
    let news = stream.room_changed(RoomState::Paused).await;
    assert_eq!(news.resumes_at, Some(ends_at));
    let mut late = next.0.watch(&next.1.token).await;
    let snapshot = late.snapshot().await;
    assert_eq!(snapshot.resumes_at, Some(ends_at));
    assert_eq!(snapshot.room_message, "back in a moment");

    first.0.leave(&first.1.token).await.expect("left");
    let news = stream.room_changed(RoomState::Open).await;
    assert_eq!(news.reason(), wire::RoomChangeReason::Schedule);
    stream.activated().await;
    let get = wire::GetRoomRequest { room_id: room };
    let shown = root.queue().get_room(root.ask(get)).await;
    let shown = shown.expect("OK").into_inner().room.expect("a room");
    assert_eq!((shown.resumes_at, shown.message), (None, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sold_out_is_pushed_to_the_line_and_undone_by_a_cancellation() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let house = app.build_house(1, one_at_a_time).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let his = bob.join(&house.room).await;
    let mut stream = bob.watch(&his.token).await;
    stream.snapshot().await;
    let buyer = alice.clone().with_pass(&pass);
    let seat = buyer
        .seat_map(&house.performance)
        .await
        .expect("seats")
        .seats[0]
        .id
        .clone();
    let held = buyer
        .hold(&house.performance, &[&seat], "hold")
        .await
        .expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    alice.pay(&held.id, "pay").await.expect("paid");
    stream.room_changed(RoomState::SoldOut).await;
    let refused = app.user("carol").try_join(&house.room).await;
    assert_eq!(reason(&refused.err().expect("sold out")), "ROOM_SOLD_OUT");
    assert_eq!(bob.join(&house.room).await.place.number, his.place.number);

    alice.cancel(&held.id, "cancel").await.expect("cancelled");
    stream.room_changed(RoomState::Open).await;
    stream.activated().await;
    let pass = bob.claim(&his.token).await.expect("claimed").pass;
    let bob = bob.with_pass(&pass);
    bob.hold(&house.performance, &[&seat], "hold")
        .await
        .expect("his now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stays_away_longer_than_the_grace_loses_the_place() {
    let app = TestApp::start_with(&LIVELY).await;
    let short_grace = wire::RoomPolicy {
        absence_grace: span_ms(3_000),
        ..standing_still()
    };
    let room = app.make_room("room", short_grace).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let (hers, his) = (alice.join(&room).await, bob.join(&room).await);
    let mut her_stream = alice.watch(&hers.token).await;
    her_stream.snapshot().await;
    let mut his_stream = bob.watch(&his.token).await;
    let place = his_stream.snapshot().await.place.expect("a place");
    assert_eq!(place.position, Some(2));
    drop(her_stream);
    let pick = |event| match event {
        Event::Position(told) if told.position == 1 => Some(()),
        _ => None,
    };
    his_stream.until("her place lapses", pick).await;
    let mut back = alice.watch(&hers.token).await;
    let place = back.snapshot().await.place.expect("a place");
    assert_eq!(place.state(), PlaceState::Expired);
    assert_eq!(back.ended().await.reason(), EndReason::Absent);
    assert_eq!(bob.place(&his.token).await.state(), PlaceState::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_turn_goes_to_the_next() {
    let app = TestApp::start().await;
    let hasty = wire::RoomPolicy {
        capacity: 1,
        claim_window: span_ms(5_000),
        ..policy()
    };
    let room = app.make_room("room", hasty).await;
    let line = join_all(&app, &room, 2).await;
    let mut streams = Vec::new();
    for (user, ticket) in &line {
        streams.push(user.watch(&ticket.token).await);
    }
    streams[0].activated().await;
    let ended = streams[0].ended().await;
    assert_eq!(
        (ended.state(), ended.reason()),
        (PlaceState::Expired, EndReason::Unclaimed)
    );
    streams[1].activated().await;
    let late = line[0].0.claim(&line[0].1.token).await.expect_err("late");
    assert_eq!(reason(&late), "ACTIVATION_EXPIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_ran_out_is_over_everywhere() {
    let app = TestApp::start().await;
    let brief = wire::RoomPolicy {
        pass_ttl: span_ms(1_000),
        ..policy()
    };
    let house = app.build_house(1, brief).await;
    let alice = app.user("alice");
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let ended = alice.watch(&ticket.token).await.ended().await;
    assert_eq!(ended.reason(), EndReason::PassExpired);
    let refused = alice.claim(&ticket.token).await.expect_err("over");
    assert_eq!(reason(&refused), "PASS_ENDED");
    let buyer = alice.with_pass(&pass);
    let refused = buyer.seat_map(&house.performance).await.expect_err("over");
    assert_eq!(reason(&refused), "PASS_ENDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_opening_the_stream_says_when_and_then_that_it_is_open() {
    let app = TestApp::start_with(&LIVELY).await;
    let opens_ms = SystemClock.now().0 + 10_000;
    let opens_at = Some(prost_types::Timestamp {
        seconds: i64::try_from(opens_ms / 1_000).expect("fits"),
        nanos: i32::try_from(opens_ms % 1_000 * 1_000_000).expect("fits"),
    });
    let scheduled = wire::RoomPolicy {
        opens_at,
        ..policy()
    };
    let room = app.make_room("room", scheduled).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    assert_eq!(ticket.place.state(), PlaceState::Scheduled);
    let mut stream = alice.watch(&ticket.token).await;
    let snapshot = stream.snapshot().await;
    assert_eq!(snapshot.room_state(), RoomState::Scheduled);
    let place = snapshot.place.expect("a place");
    assert_eq!((place.opens_at, place.position), (opens_at, None));
    let refused = alice.claim(&ticket.token).await.expect_err("not yet");
    assert_eq!(reason(&refused), "NOT_ACTIVATED");
    stream.room_changed(RoomState::Open).await;
    assert!(SystemClock.now().0 >= opens_ms, "not before its time");
    stream.activated().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_never_exceeds_the_heartbeat_interval() {
    let app = TestApp::start_with(&LIVELY).await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let mut stream = alice.watch(&alice.join(&room).await.token).await;
    assert_eq!(stream.snapshot().await.heartbeat_interval, span_ms(1_000));
    for _ in 0..3 {
        // The deadline, three times over: the machine may be busy.
        let next = tokio::time::timeout(Duration::from_secs(3), stream.event()).await;
        let next = next.expect("in time");
        assert!(
            matches!(next, Event::Heartbeat(_) | Event::Position(_)),
            "{next:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_only_slow_its_stream() {
    let app = TestApp::start_with(&LIVELY).await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    for interval in [span_ms(0), span_ms(1), span_ms(3_600_000)] {
        let asked = wire::WatchRequest {
            min_update_interval: interval,
            ..request(&ticket)
        };
        let mut stream = alice.watch_as(asked).await.expect("a stream");
        stream.snapshot().await;
        soon("a heartbeat", stream.event()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_tells_every_stream_when_to_come_back() {
    let app = TestApp::start_with(&[("USHER_STREAM__RECONNECT_SPREAD_MS", "2000")]).await;
    let room = app.make_room("room", standing_still()).await;
    let line = join_all(&app, &room, 20).await;
    let mut streams = Vec::new();
    for (user, ticket) in &line {
        let mut stream = user.watch(&ticket.token).await;
        stream.snapshot().await;
        streams.push(stream);
    }
    let stopping = app.ask_to_stop();
    let mut delays = Vec::new();
    for stream in &mut streams {
        let drain = stream.drain().await;
        assert_eq!(drain.reason(), DrainReason::Shutdown);
        let after = drain.reconnect_after.expect("a delay");
        delays.push(Duration::try_from(after).expect("a span"));
    }
    assert!(
        delays
            .iter()
            .all(|delay| delay.as_millis() <= 2_000 + 1_000),
        "{delays:?}"
    );
    delays.dedup();
    assert!(delays.len() > 1, "spread: {delays:?}");
    drop((streams, line));
    stopping.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_statistics_with_draining() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let request = app
        .admin()
        .ask(wire::WatchRoomStatsRequest { room_id: room });
    let mut operator = app.admin().operator();
    let answer = operator.watch_room_stats(request).await.expect("a stream");
    let mut stats = answer.into_inner();
    stats.message().await.expect("a message").expect("numbers");
    let stopping = app.ask_to_stop();
    let end = loop {
        match stats.message().await {
            Ok(message) => assert!(message.is_some(), "an end without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), tonic::Code::Unavailable);
    assert_eq!(crate::people::reason(&end), "DRAINING");
    drop((stats, operator));
    stopping.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_every_token_keeps_its_order_in_a_new_epoch() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let line = join_all(&app, &room, 5).await;
    let mut stream = line[4].0.watch(&line[4].1.token).await;
    stream.snapshot().await;
    let before = stream.cursor;
    line[1].0.leave(&line[1].1.token).await.expect("left");
    drop(stream);
    let app = app.restart(&LIVELY).await;
    for (index, (user, ticket)) in line.iter().enumerate() {
        let user = app.user(&user.id);
        let resuming = wire::WatchRequest {
            resume: Some(wire::Cursor {
                epoch: before.0,
                revision: before.1,
            }),
            ..request(ticket)
        };
        let mut stream = user.watch_as(resuming).await.expect("a stream");
        let snapshot = stream.snapshot().await;
        assert!(!snapshot.resumed && stream.cursor.0 > before.0);
        let place = snapshot.place.expect("a place");
        assert_eq!(place.number, ticket.place.number);
        if index == 1 {
            // That it is over is kept; why, only where a turn's row says so.
            assert_eq!(stream.ended().await.reason(), EndReason::Absent);
        } else {
            assert_eq!(user.join(&room).await.place.number, ticket.place.number);
            let expected = if index == 0 { 1 } else { index as u64 };
            assert_eq!(
                place.position,
                Some(expected),
                "a clean stop forgets nothing"
            );
        }
    }
}
