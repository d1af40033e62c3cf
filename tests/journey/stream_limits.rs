//! What streams may cost a node: those that nobody reads, and those too many.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use wire::watch_seat_map_response::Event as SeatEvent;

use crate::deadlines::within;
use crate::harness::{TestApp, eventually, soon};
use crate::people::{User, reason};
use crate::sale::policy;

const SHORT_STALL: [(&str, &str); 2] = [
    ("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000"),
    ("USHER_STREAM__WRITE_STALL_MS", "5000"),
];
/// A heartbeat a second is there by then, one of another period is not.
const T_HEARTBEAT: Duration = Duration::from_secs(8);

async fn stats(root: &User, room: &str) -> Result<Streaming<wire::WatchRoomStatsResponse>, Status> {
    let request = root.ask(wire::WatchRoomStatsRequest {
        room_id: room.to_owned(),
    });
    let answer = soon("figures", root.operator().watch_room_stats(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn seats(
    buyer: &User,
    performance: &str,
) -> Result<Streaming<wire::WatchSeatMapResponse>, Status> {
    let request = buyer.ask(wire::WatchSeatMapRequest {
        performance_id: performance.to_owned(),
        resume_cursor: None,
    });
    let answer = soon("seats", buyer.catalog().watch_seat_map(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn watch(
    user: &User,
    channel: &Channel,
    token: &str,
) -> Result<Streaming<wire::WatchResponse>, Status> {
    let user = user.clone().on(channel.clone());
    let request = user.ask(wire::WatchRequest {
        place_token: token.to_owned(),
        ..Default::default()
    });
    let answer = soon("a stream", user.queue().watch(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn streams_are(app: &TestApp, expected: usize) {
    let what = format!("{expected} streams");
    let counted = async || (app.node.hub.counts().streams == expected).then_some(());
    eventually(&what, counted).await;
}

async fn assert_is_reset<T>(mut stream: Streaming<T>) {
    let end = loop {
        match soon("an end", stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end without a status"),
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Cancelled, "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_never_read_leave_nothing_and_their_connection_goes_on() {
    let app = TestApp::start_with(&SHORT_STALL).await;
    let house = app.build_house(2, policy()).await;
    // It takes a byte of each stream, and no more before that is read.
    let narrow = app.narrow_channel(1).await;
    let alice = app.user("alice");
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    streams_are(&app, 0).await;
    let buyer = alice.clone().with_pass(&pass).on(narrow.clone());
    let root = app.admin().on(narrow.clone());
    let place = watch(&alice, &narrow, &ticket.token).await;
    let map = seats(&buyer, &house.performance).await;
    let figures = stats(&root, &house.room).await;
    let unread = (place.expect("OK"), map.expect("OK"), figures.expect("OK"));
    assert_eq!(app.node.hub.counts().streams, 3);
    streams_are(&app, 0).await;
    let map = buyer.seat_map(&house.performance).await;
    assert_eq!(map.expect("others are served").seats.len(), 2);
    assert_is_reset(unread.0).await;
    assert_is_reset(unread.1).await;
    assert_is_reset(unread.2).await;
}

fn assert_too_many<T>(answer: Result<T, Status>) {
    let refused = answer.err().expect("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(&refused), "TOO_MANY_STREAMS");
    let retry = refused.get_details_retry_info();
    let delay = retry.and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| !delay.is_zero()), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_so_many_streams_of_all_kinds() {
    let app = TestApp::start_with(&[("USHER_STREAM__STREAMS_MAX", "1")]).await;
    let house = app.build_house(2, policy()).await;
    let (alice, root) = (app.user("alice"), app.admin());
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let channel = alice.channel();
    streams_are(&app, 0).await;

    let place = watch(&alice, &channel, &ticket.token).await.expect("OK");
    assert_too_many(watch(&alice, &channel, &ticket.token).await);
    assert_too_many(seats(&buyer, &house.performance).await);
    assert_too_many(stats(&root, &house.room).await);
    drop(place);
    streams_are(&app, 0).await;
    let map = seats(&buyer, &house.performance).await.expect("OK");
    assert_too_many(watch(&alice, &channel, &ticket.token).await);
    drop(map);
    streams_are(&app, 0).await;
    stats(&root, &house.room).await.expect("OK");
    assert_eq!(app.node.hub.counts().refused_total, 4);
}

/// Opens until one is refused, twice: what ends makes room again.
async fn assert_of_a_caller(limit: (&str, &str), alice_waits_for_bob: bool) {
    let app = TestApp::start_with(&[limit]).await;
    let house = app.build_house(2, policy()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let bobs = bob.join(&house.room).await;
    let channel = alice.channel();
    streams_are(&app, 0).await;
    let place = watch(&alice, &channel, &ticket.token).await.expect("OK");
    let map = seats(&buyer, &house.performance).await.expect("OK");
    assert_too_many(watch(&alice, &channel, &ticket.token).await);
    let of_bob = watch(&bob, &channel, &bobs.token).await;
    assert_eq!(of_bob.is_err(), alice_waits_for_bob);
    drop((place, of_bob));
    streams_are(&app, 1).await;
    let _place = watch(&alice, &channel, &ticket.token).await.expect("OK");
    assert_too_many(seats(&buyer, &house.performance).await);
    drop(map);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_streams_of_all_kinds() {
    assert_of_a_caller(("USHER_STREAM__STREAMS_PER_USER", "2"), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_streams_of_all_kinds() {
    assert_of_a_caller(("USHER_STREAM__STREAMS_PER_ADDRESS", "2"), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_map_is_silent_for_the_heartbeat_interval_at_most() {
    let app = TestApp::start_with(&[("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")]).await;
    let house = app.build_house(2, policy()).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let stream = seats(&alice.with_pass(&pass), &house.performance).await;
    let mut stream = stream.expect("a stream");
    let first = soon("seats", stream.message()).await.expect("OK");
    let first = first.expect("a message");
    assert!(matches!(first.event, Some(SeatEvent::Snapshot(_))));
    let next = within("a heartbeat", T_HEARTBEAT, stream.message()).await;
    let next = next.expect("OK").expect("a message");
    assert!(
        matches!(next.event, Some(SeatEvent::Heartbeat(_))),
        "{next:?}"
    );
    assert_eq!(next.cursor, first.cursor);
}
