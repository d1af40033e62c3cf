//! Streams that are asked for oddly, or at an odd moment.

use futures_util::future::join_all;
use prost_types::Duration;
use tonic::Code;
use usher::proto::v1 as wire;
use wire::watch_response::Event;
use wire::watch_seat_map_response::Event as SeatsEvent;

use super::world::{self, World};
use crate::harness::{TestApp, soon};
use crate::sale::policy;

const LIVELY: [(&str, &str); 1] = [("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")];
const CROWD: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_subscribes_during_the_own_admission_is_told_once() {
    let app = TestApp::start().await;
    let room = wire::RoomPolicy {
        capacity: CROWD,
        ..policy()
    };
    let room = app.make_room("room", room).await;
    let admissions = (0..CROWD).map(|index| {
        let user = app.user(&format!("user-{index}"));
        let room = room.clone();
        async move {
            let ticket = user.join(&room).await;
            let mut stream = user.watch(&ticket.token).await;
            stream.snapshot().await;
            let turn = stream.activated().await;
            assert!(turn.pass.is_none() && turn.claim_by.is_some(), "{turn:?}");
            let claimed = user.claim(&ticket.token).await.expect("claimed");
            // Between the two nothing of the first comes again.
            let active = stream.activated().await;
            assert_eq!(active.pass, Some(claimed.pass));
            assert_eq!(active.activation_id, turn.activation_id);
            user.leave(&ticket.token).await.expect("left");
            let left = stream.event().await;
            assert!(matches!(left, Event::Ended(_)), "{left:?}");
            stream.over().await;
        }
    });
    soon("all admissions", join_all(admissions)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_spans_of_a_stream_neither_end_nor_hold_it_up() {
    let app = TestApp::start_with(&LIVELY).await;
    let still = wire::RoomPolicy {
        capacity: 0,
        ..policy()
    };
    let room = app.make_room("room", still).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    let longest = Some(Duration {
        seconds: 315_576_000_000,
        nanos: 999_999_999,
    });
    let asked = wire::WatchRequest {
        place_token: ticket.token.clone(),
        min_update_interval: longest,
        max_duration: longest,
        ..Default::default()
    };
    let mut stream = alice.watch_as(asked).await.expect("a stream");
    stream.snapshot().await;
    let next = stream.event().await;
    let is_sign_of_life = matches!(next, Event::Heartbeat(_) | Event::Position(_));
    assert!(is_sign_of_life, "as often as it must be: {next:?}");
    for nanos in [0, 1] {
        let asked = wire::WatchRequest {
            place_token: ticket.token.clone(),
            max_duration: Some(Duration { seconds: 0, nanos }),
            ..Default::default()
        };
        let mut stream = alice.watch_as(asked).await.expect("a stream");
        stream.snapshot().await;
        stream.over().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_map_goes_on_from_its_own_cursors_and_starts_anew_from_others() {
    let world = World::build().await;
    let watch = async |resume_cursor: Option<&str>| -> wire::WatchSeatMapResponse {
        let message = wire::WatchSeatMapRequest {
            performance_id: world.performance.clone(),
            resume_cursor: resume_cursor.map(str::to_owned),
        };
        world::read(&world.root, "CatalogService/WatchSeatMap", message).await
    };
    let first = watch(None).await;
    let long = "9".repeat(10_240);
    let strange = [
        "",
        "x",
        "-1",
        "v",
        "v-1",
        "v99999999999",
        "\0",
        "a{b}",
        "\u{202e}",
        &long,
    ];
    for cursor in strange.into_iter().map(Some).chain([None]) {
        let answer = watch(cursor).await;
        let Some(SeatsEvent::Snapshot(snapshot)) = answer.event else {
            panic!("{cursor:.40?}: {answer:?}");
        };
        assert_eq!(snapshot.seats.len(), world.seats.len(), "{cursor:.40?}");
    }
    let seat = [world.seats[9].as_str()];
    world
        .root
        .hold(&world.performance, &seat, "hold")
        .await
        .expect("held");
    let answer = watch(Some(&first.cursor)).await;
    let Some(SeatsEvent::Delta(delta)) = answer.event else {
        panic!("what changed since: {answer:?}");
    };
    let changed: Vec<_> = delta.seats.iter().map(|seat| seat.id.as_str()).collect();
    assert_eq!(changed, seat);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_what_is_unknown_are_an_error_before_any_message() {
    let app = TestApp::start().await;
    let root = app.admin();
    let stats = wire::WatchRoomStatsRequest {
        room_id: "unknown-1".to_owned(),
    };
    let refused = root.operator().watch_room_stats(root.ask(stats)).await;
    assert_eq!(
        refused.err().map(|status| status.code()),
        Some(Code::NotFound)
    );
    let seats = wire::WatchSeatMapRequest {
        performance_id: "unknown-1".to_owned(),
        resume_cursor: None,
    };
    let refused = root.catalog().watch_seat_map(root.ask(seats)).await;
    assert_eq!(
        refused.err().map(|status| status.code()),
        Some(Code::NotFound)
    );
}
