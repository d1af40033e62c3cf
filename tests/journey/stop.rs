//! A stop, as those see it who watch seats.

use std::sync::Arc;

use tonic::Code;
use usher::clock::SystemClock;
use usher::proto::v1 as wire;
use usher::store::rooms::RoomRegistry as _;
use usher::store::sql::SqlStore;

use crate::gateway::{LONG_MS, Shop};
use crate::harness::{TestApp, soon};
use crate::people::reason;
use crate::sale::policy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_seat_maps_with_draining() {
    let app = TestApp::start().await;
    let house = app.build_house(3, policy()).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let alice = alice.with_pass(&pass);
    let request = alice.ask(wire::WatchSeatMapRequest {
        performance_id: house.performance,
        resume_cursor: None,
    });
    let mut maps = alice.catalog();
    let seats = soon("a stream", maps.watch_seat_map(request)).await;
    let mut seats = seats.expect("OK").into_inner();
    seats.message().await.expect("OK").expect("the seats");
    let stopping = app.ask_to_stop();
    let end = soon("the end", async {
        loop {
            match seats.message().await {
                Ok(message) => assert!(message.is_some(), "an end without a status"),
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(reason(&end), "DRAINING");
    drop((seats, maps, alice));
    stopping.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_takes_nothing_from_the_rooms() {
    let more = [
        ("USHER_GATEWAY__CALL_TIMEOUT_MS", "30000"),
        ("USHER_GATEWAY__TIME_LIMIT_MS", "100000"),
        ("USHER_GATEWAY__ANSWER_WITHIN_MS", "50"),
    ];
    let shop = Shop::open(LONG_MS, &more).await;
    shop.stub.fall_silent();
    let alice = shop.app.user("alice");
    let filling = alice.top_up_by_gateway(50, "ok", "top-up").await;
    assert_eq!(filling.expect("pending").entry, None);
    drop(alice);
    let url = shop.app.database_url();
    let _dir = shop.app.ask_to_stop().done().await;
    // The last of its words: whoever starts next waits for nobody.
    let sql = SqlStore::connect(&url, Arc::new(SystemClock)).await;
    let lease = sql.expect("opened").lease("embedded-queue", 7, 1_000).await;
    assert_eq!(lease, Ok(()));
}
