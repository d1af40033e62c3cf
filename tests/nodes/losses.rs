//! Redis forgets everything while people wait.

use usher::proto::v1::watch_response::Event;

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_ends_no_stream_and_moves_nobody_back() {
    const PEOPLE: usize = 20;
    let house = House::build(1).await;
    let mut active = house.line_up("active", 0, 0).await;
    active.stream.snapshot().await;
    active.stream.activated().await;
    let mut line = Vec::new();
    for index in 0..PEOPLE {
        let mut waits = house
            .line_up(&format!("user-{index}"), index % 3, (index + 1) % 3)
            .await;
        waits.stream.snapshot().await;
        line.push(waits);
    }
    let epoch = line[0].stream.cursor.0;
    assert_eq!(house.redis.cli(&["FLUSHALL"]), "OK");
    // Streams go on; `Watching` holds each to positions that only fall.
    for (index, waits) in line.iter_mut().enumerate() {
        let mut position = None;
        while waits.stream.cursor.0 == epoch || position != Some(index as u64 + 1) {
            match waits.stream.event().await {
                Event::Position(told) => position = Some(told.position),
                Event::Snapshot(snapshot) => position = snapshot.place.and_then(|p| p.position),
                Event::Heartbeat(_) | Event::RoomChanged(_) => {}
                other => panic!("nobody's turn, and nobody's end: {other:?}"),
            }
        }
    }
    assert_eq!(line[0].stream.cursor.0, epoch + 1, "rebuilt once");
    // Activation resumes, in the old order.
    let mut leaves = (active.user, active.ticket.token);
    for waits in line.iter_mut().take(3) {
        leaves.0.leave(&leaves.1).await.expect("left");
        waits.stream.activated().await;
        leaves = (waits.user.clone(), waits.ticket.token.clone());
    }
}
