//! Readers that take nothing, on the streams beside `Watch`.

use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::people::{User, reason};
use crate::sale::policy;

/// The others are read after it, and before as long again has passed: they would
/// be reset then.
const STALL_MS: &str = "10000";
/// One each second: when the last comes, the others have stalled.
const READ_TOTAL: usize = 14;
/// Of a client's stream: less than any message.
const WINDOW_BYTES: u32 = 16;

async fn stats(root: &User, room: &str) -> Streaming<wire::WatchRoomStatsResponse> {
    let request = wire::WatchRoomStatsRequest {
        room_id: room.to_owned(),
    };
    let stream = root.operator().watch_room_stats(root.ask(request)).await;
    stream.expect("a stream").into_inner()
}

/// Reads to the end: how much was said, and the status.
async fn end<T>(mut stream: Streaming<T>) -> (usize, Status) {
    let mut said = 0;
    loop {
        match soon("the end", stream.message()).await {
            Ok(Some(_)) => said += 1,
            Ok(None) => panic!("it ends with a status"),
            Err(status) => return (said, status),
        }
    }
}

fn assert_slow(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(status), "SLOW_READER");
    let retry = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    assert!(retry.is_some(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_stream_whose_reader_takes_nothing_ends_with_slow_reader() {
    let app = TestApp::start_with(&[
        ("USHER_STREAM__WRITE_STALL_MS", STALL_MS),
        ("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000"),
    ])
    .await;
    let house = app.build_house(100, policy()).await;
    let slow = app.narrow_channel(WINDOW_BYTES).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let on_slow = |user: User| user.on(slow.clone());
    let alice = alice.with_pass(&pass);
    let map = alice.seat_map(&house.performance).await.expect("seats");
    let alice = on_slow(alice);
    let request = alice.ask(wire::WatchSeatMapRequest {
        performance_id: house.performance.clone(),
        resume_cursor: None,
    });
    let seats = alice.catalog().watch_seat_map(request).await;
    let seats = seats.expect("a stream").into_inner();
    let figures = stats(&on_slow(app.admin()), &house.room).await;

    // Someone who reads stays, however long.
    let root = app.admin();
    let mut lively = stats(&root, &house.room).await;
    for seat in &map.seats[..READ_TOTAL] {
        let message = soon("figures", lively.message()).await;
        assert!(message.expect("no error").is_some());
        // Something is due on the seat map, too.
        let block = wire::BlockSeatsRequest {
            performance_id: house.performance.clone(),
            seat_ids: vec![seat.id.clone()],
            blocked: true,
            reason: "a test".to_owned(),
        };
        let blocked = root.operator().block_seats(root.ask(block)).await;
        blocked.expect("blocked");
    }
    let (said, status) = end(seats).await;
    assert_slow(&status);
    assert!(
        (1..READ_TOTAL).contains(&said),
        "what was on its way: {said}"
    );
    let (said, status) = end(figures).await;
    assert_slow(&status);
    assert!(
        (1..READ_TOTAL).contains(&said),
        "what was on its way: {said}"
    );
}
