//! What an operator sees of a room.

use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::sale::policy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_tell_places_streams_and_how_long_pushes_took() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", one_at_a_time).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let hers = alice.join(&room).await;
    let mut her_stream = alice.watch(&hers.token).await;
    her_stream.activated().await;
    let his = bob.join(&room).await;
    let mut tabs = Vec::new();
    for _tab in 0..2 {
        let mut stream = bob.watch(&his.token).await;
        stream.snapshot().await;
        tabs.push(stream);
    }
    // Said to streams that were open: it is pushed.
    let root = app.admin();
    root.pause(&room).await;
    her_stream.room_changed(wire::RoomState::Paused).await;

    let request = wire::WatchRoomStatsRequest {
        room_id: room.clone(),
    };
    let figures = root.operator().watch_room_stats(root.ask(request)).await;
    let mut figures = figures.expect("a stream").into_inner();
    let first = soon("figures", figures.message()).await;
    let first = first.expect("no error").expect("a message");
    assert_eq!((first.waiting, first.absent, first.activated), (1, 0, 1));
    assert_eq!(first.streams, 3, "two tabs are two streams");
    let delay = first.push_delay.expect("pushed");
    assert!(delay.p50.is_some() && delay.max.is_some(), "{delay:?}");

    drop(tabs);
    let seen = async {
        loop {
            let message = figures.message().await.expect("no error");
            let message = message.expect("it goes on");
            if (message.streams, message.absent) == (1, 1) {
                return message;
            }
        }
    };
    let last = soon("an absence", seen).await;
    assert_eq!(last.waiting, 1, "still in line");
}
