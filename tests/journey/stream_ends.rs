//! How streams end before their place does: a reader that takes nothing, old
//! age, the end of a pass; and how they go on when places are merged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Code;
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use wire::watch_response::Event;
use wire::{DrainReason, EndReason};

use crate::harness::{TestApp, eventually, soon};
use crate::people::{Ticket, User, reason};
use crate::sale::{policy, span_ms};

const SHORT_STALL: [(&str, &str); 2] = [
    ("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000"),
    ("USHER_STREAM__WRITE_STALL_MS", "5000"),
];

fn standing_still() -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity: 0,
        ..policy()
    }
}

fn assert_slow_reader(end: &tonic::Status) {
    assert_eq!(
        (end.code(), reason(end).as_str()),
        (Code::ResourceExhausted, "SLOW_READER")
    );
    let retry = end.get_details_retry_info().expect("RetryInfo");
    assert!(
        retry.retry_delay.is_some_and(|delay| !delay.is_zero()),
        "{retry:?}"
    );
}

/// On a connection that takes a byte of a stream, and no more before that is
/// read.
async fn slow_user(app: &TestApp, id: &str) -> User {
    User::new(app.narrow_channel(1).await, id)
}

/// Reads on until the status that ends a stream.
async fn end_of<T>(stream: &mut tonic::Streaming<T>) -> tonic::Status {
    let read_on = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an end without a status"),
                Err(end) => return end,
            }
        }
    };
    soon("an end", read_on).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_takes_nothing_for_write_stall_ends_with_slow_reader() {
    let app = TestApp::start_with(&SHORT_STALL).await;
    let short_grace = wire::RoomPolicy {
        absence_grace: span_ms(3_000),
        ..standing_still()
    };
    let room = app.make_room("room", short_grace).await;
    let (alice, bob) = (slow_user(&app, "alice").await, app.user("bob"));
    let ticket = alice.join(&room).await;
    let mut stream = alice.watch(&ticket.token).await;
    let his = bob.join(&room).await;
    let mut reader = bob.watch(&his.token).await;
    reader.snapshot().await;
    eventually("a stall", async || {
        (app.node.hub.counts().slow_readers_total >= 1).then_some(())
    })
    .await;
    // What was on its way, and the one message the transport keeps at hand;
    // then the end. Nothing was gathered meanwhile.
    stream.snapshot().await;
    let mut kept = 0;
    let end = loop {
        match stream.next().await {
            Ok(message) => assert!(message.is_some(), "an end without a status"),
            Err(end) => break end,
        }
        kept += 1;
    };
    assert!(kept <= 1, "{kept}");
    assert_slow_reader(&end);
    // The others never noticed; and a stream that is over is nobody's presence.
    let first = |event| match event {
        Event::Position(told) if told.position == 1 => Some(()),
        _ => None,
    };
    reader.until("her place lapses", first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_never_read_is_presence_no_longer_than_write_stall() {
    let app = TestApp::start_with(&SHORT_STALL).await;
    let short_grace = wire::RoomPolicy {
        absence_grace: span_ms(3_000),
        ..standing_still()
    };
    let room = app.make_room("room", short_grace).await;
    let (alice, bob) = (slow_user(&app, "alice").await, app.user("bob"));
    let ticket = alice.join(&room).await;
    let never_read = alice.watch(&ticket.token).await;
    let mut reader = bob.watch(&bob.join(&room).await.token).await;
    let first = |event| match event {
        Event::Position(told) if told.position == 1 => Some(()),
        _ => None,
    };
    reader.until("her place lapses", first).await;
    drop(never_read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_stream_is_drained_and_goes_on_as_another() {
    let short_age = [
        ("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000"),
        ("USHER_STREAM__AGE_MAX_MS", "1000"),
        ("USHER_STREAM__RECONNECT_SPREAD_MS", "2000"),
    ];
    let app = TestApp::start_with(&short_age).await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let mut stream = alice.watch(&ticket.token).await;
    stream.snapshot().await;
    let drain = stream.drain().await;
    assert_eq!(drain.reason(), DrainReason::Aged);
    let after = drain.reconnect_after.expect("a delay");
    let after_ms = std::time::Duration::try_from(after)
        .expect("a span")
        .as_millis();
    assert!((500..=2_500).contains(&after_ms), "{after_ms}");
    let resuming = wire::WatchRequest {
        place_token: ticket.token.clone(),
        resume: Some(wire::Cursor {
            epoch: stream.cursor.0,
            revision: stream.cursor.1,
        }),
        ..Default::default()
    };
    let mut again = alice.watch_as(resuming).await.expect("a stream");
    let snapshot = again.snapshot().await;
    assert!(snapshot.resumed, "{snapshot:?}");
    let place = snapshot.place.expect("a place");
    assert_eq!(
        (place.number, place.position),
        (ticket.place.number, Some(1))
    );
}

async fn join_with(user: &User, room: &str, token: &str) -> Ticket {
    let request = user.ask(wire::JoinRequest {
        room_id: room.to_owned(),
        place_token: Some(token.to_owned()),
        access_code: None,
    });
    let joined = soon("a join", user.queue().join(request)).await;
    let joined = joined.expect("joined").into_inner();
    Ticket {
        token: joined.place_token,
        place: joined.place.expect("a place"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_place_was_merged_gets_a_snapshot_of_the_survivor_and_never_ended() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let before = app.user("alice").join(&room).await;
    // The line forgets who has which number; the tokens do not.
    let app = app.restart(&[]).await;
    let alice = app.user("alice");
    let second = alice.join(&room).await;
    assert!(second.place.number > before.place.number);
    let mut stream = alice.watch(&second.token).await;
    assert_eq!(stream.snapshot().await.place_token, None);

    let merged = join_with(&alice, &room, &before.token).await;
    assert_eq!(
        merged.place.number, before.place.number,
        "the lower order wins"
    );
    let survivor = |event| match event {
        Event::Snapshot(snapshot) => Some(snapshot),
        Event::Ended(ended) => panic!("{ended:?}"),
        _ => None,
    };
    let told = stream.until("a snapshot of the survivor", survivor).await;
    let mut late = alice.watch(&second.token).await;
    for snapshot in [told, late.snapshot().await] {
        let place = snapshot.place.expect("a place");
        assert_eq!(
            (place.number, place.position),
            (before.place.number, Some(1))
        );
        let token = snapshot.place_token.expect("the token to keep");
        assert_eq!(alice.place(&token).await.number, before.place.number);
    }
    let asked = wire::GetPlaceRequest {
        place_token: second.token.clone(),
    };
    let answer = alice.queue().get_place(alice.ask(asked)).await;
    let answer = answer.expect("OK").into_inner();
    assert!(answer.place_token.is_some());
    assert_eq!(answer.place.expect("a place").number, before.place.number);
    // The merged token still speaks for the user's one place.
    alice.leave(&second.token).await.expect("left");
    for stream in [&mut stream, &mut late] {
        assert_eq!(stream.ended().await.reason(), EndReason::Left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_map_ends_when_the_pass_ends() {
    let app = TestApp::start().await;
    let brief = wire::RoomPolicy {
        pass_ttl: span_ms(5_000),
        ..policy()
    };
    let house = app.build_house(2, brief).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.with_pass(&pass);
    let request = wire::WatchSeatMapRequest {
        performance_id: house.performance.clone(),
        resume_cursor: None,
    };
    let stream = buyer.catalog().watch_seat_map(buyer.ask(request)).await;
    let mut stream = stream.expect("a stream").into_inner();
    let end = end_of(&mut stream).await;
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::FailedPrecondition, "PASS_ENDED")
    );
}

/// What a pass says, unverified.
fn claims_of(pass: &str) -> serde_json::Value {
    let payload = pass.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_passes_of_one_activation_share_jti_iat_and_exp() {
    let app = TestApp::start().await;
    let room = app.make_room("room", policy()).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let mut tabs = [
        alice.watch(&ticket.token).await,
        alice.watch(&ticket.token).await,
    ];
    let turn = tabs[0].activated().await;
    tabs[1].activated().await;
    let mut passes = vec![alice.claim(&ticket.token).await.expect("claimed").pass];
    for tab in &mut tabs {
        passes.push(tab.activated().await.pass.expect("a pass"));
    }
    passes.push(alice.claim(&ticket.token).await.expect("again").pass);
    let app = app_restarted(app, tabs).await;
    let alice = app.user("alice");
    passes.push(
        alice
            .claim(&ticket.token)
            .await
            .expect("after a restart")
            .pass,
    );
    let mut late = alice.watch(&ticket.token).await;
    let active = late.activated().await;
    passes.push(active.pass.expect("a pass"));
    let exp = active.expire_time.expect("an end").seconds;
    let first = claims_of(&passes[0]);
    assert_eq!(first["jti"], turn.activation_id.as_str());
    assert_eq!(first["exp"], exp);
    for pass in &passes {
        let claims = claims_of(pass);
        for claim in ["jti", "iat", "exp", "sub", "room_id"] {
            assert_eq!(claims[claim], first[claim], "{claim}");
            assert!(!claims[claim].is_null(), "{claim}");
        }
    }
}

/// The streams must be gone before the server can stop.
async fn app_restarted<T>(app: TestApp, streams: T) -> TestApp {
    drop(streams);
    app.restart(&[]).await
}
