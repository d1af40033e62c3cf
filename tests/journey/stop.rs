//! A stop, as those see it who watch seats.

use tonic::Code;
use usher::proto::v1 as wire;

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
