//! A stop ends in time, whatever hangs: a database that takes no writes, a
//! stream that its client never ends, a peer that never speaks.

use std::time::Duration;

use tokio::time::Instant;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use usher::proto::v1 as wire;

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, Rules};
use crate::outage::Outage;
use crate::people::User;
use crate::server::Server;

const DRAIN_MS: &str = "1000";
/// The drain, and 1.5 s for the cut and the stores.
const STOP: Duration = Duration::from_millis(2_500);
/// The machine that runs this has other things to do.
const SLACK: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_whatever_hangs() {
    let dir = tempfile::tempdir().expect("a directory");
    let env = [("USHER_DRAIN__DEADLINE_MS", DRAIN_MS)];
    let (server, port) = Server::first(dir.path(), &env).await;
    let world = World::new(port);
    let rules = Rules {
        capacity: 0,
        absence_grace_s: 60,
    };
    let room = house::build_with(&world, rules).await.room;
    let alice = User::new(world.channel.clone(), "alice");
    let ticket = alice.join(room.as_str()).await;
    let mut waiting = alice.watch(&ticket.token).await;
    waiting.snapshot().await;

    let silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    let silent = silent.expect("connected");
    let (hold, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut endless = ServerReflectionClient::new(world.channel.clone());
    let endless = endless.server_reflection_info(requests).await.expect("OK");
    let url = format!("sqlite://{}/usher.sqlite", dir.path().display());
    let outage = Outage::begin(&url).await;

    let began = Instant::now();
    let (drain, ()) = soon("the stop", async {
        tokio::join!(waiting.drain(), server.terminate())
    })
    .await;
    assert_eq!(drain.reason(), wire::DrainReason::Shutdown);
    let took = began.elapsed();
    assert!(took <= STOP * SLACK, "{took:?}");
    drop((outage, endless, hold, silent));
}
