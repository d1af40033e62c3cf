//! Redis is away, and comes back: decision 14 as clients see it.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;

use crate::house::House;
use crate::people::reason;

/// The machine that runs this has other things to do.
const SLACK: u32 = 3;
const TOLD_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nobody_is_let_in_and_nobody_is_lost() {
    let house = House::build(2).await;
    let mut active = house.line_up("active", 0, 0).await;
    active.stream.activated().await;
    let mut called = house.line_up("called", 1, 1).await;
    called.stream.activated().await;
    let mut waits = house.line_up("waits", 2, 2).await;
    waits.stream.snapshot().await;
    let mut leaves = house.line_up("leaves", 0, 1).await;
    leaves.stream.snapshot().await;
    active
        .user
        .claim(&active.ticket.token)
        .await
        .expect("claimed");

    house.redis.pause();
    let away_since = Instant::now();
    for stream in [&mut waits.stream, &mut leaves.stream, &mut active.stream] {
        stream.room_changed(wire::RoomState::Degraded).await;
        let took = away_since.elapsed();
        assert!(took <= TOLD_WITHIN * SLACK, "{took:?}");
    }
    let refused = house.user(1, "new").try_join(&house.room).await;
    let refused = refused.err().expect("refused");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "DEGRADED")
    );
    let retry = refused.get_details_retry_info().expect("RetryInfo");
    let after = retry.retry_delay.expect("a delay");
    assert!((2_000..=10_000).contains(&after.as_millis()), "{after:?}");
    // A turn that was told can be answered, and a place can be given back.
    called
        .user
        .claim(&called.ticket.token)
        .await
        .expect("claimed");
    leaves.user.leave(&leaves.ticket.token).await.expect("left");
    // Whoever comes back keeps their place.
    let again = house.user(0, "waits");
    let mut again = again.watch(&waits.ticket.token).await;
    let place = again.snapshot().await.place.expect("a place");
    assert_eq!(place.number, waits.ticket.place.number);

    house.redis.resume();
    waits.stream.room_changed(wire::RoomState::Open).await;
    let ended = leaves.stream.ended().await;
    assert_eq!(ended.reason(), wire::EndReason::Left);
    // A slot that was freed is given to the one who waits.
    active.user.leave(&active.ticket.token).await.expect("left");
    waits.stream.activated().await;
    again.activated().await;
}
