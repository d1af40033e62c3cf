//! A disk that takes no more: rooms stand still, nothing is half done, and all
//! goes on when there is space.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use wire::RoomState;

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, PRICE_MINOR, Rules};
use crate::people::{User, reason};
use crate::server::{self, Server};

const T_DEGRADED: Duration = Duration::from_secs(2);
const SLACK: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_degraded_and_half_does_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, port) = Server::first(dir.path(), &[]).await;
    let world = World::new(port);
    let rules = Rules {
        capacity: 1,
        absence_grace_s: 60,
    };
    let house = house::build_with(&world, rules).await;
    let room = house.room.as_str();
    let (alice, bob) = (
        User::new(world.channel.clone(), "alice"),
        User::new(world.channel.clone(), "bob"),
    );
    let pass = alice.await_pass(&alice.join(room).await.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let seat = [map.seats[0].id.as_str()];
    let held = buyer.hold(&house.performance, &seat, "hold").await;
    let held = held.expect("held").id;
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let his = bob.join(room).await;
    let mut stream = bob.watch(&his.token).await;

    server.limit_files("4096").await;
    let told = stream.room_changed(RoomState::Degraded);
    let told = timeout(T_DEGRADED * SLACK, told).await;
    told.expect("DEGRADED in time");
    for refused in [
        alice.pay(&held, "pay").await.map(drop),
        User::new(world.channel.clone(), "late")
            .try_join(room)
            .await
            .map(drop),
    ] {
        let refused = refused.expect_err("nothing is written");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(reason(&refused), "DEGRADED");
        assert!(refused.get_details_retry_info().is_some());
    }
    assert_eq!(alice.balance().await, PRICE_MINOR, "reads go on");

    server.limit_files("unlimited").await;
    stream.room_changed(RoomState::Open).await;
    soon("the payment", async {
        while let Err(refused) = alice.pay(&held, "pay").await {
            assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
        }
    })
    .await;
    assert_eq!(alice.balance().await, 0, "paid once");
    // The pass is used up: its slot is his.
    stream.activated().await;
    drop(stream);
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
}
