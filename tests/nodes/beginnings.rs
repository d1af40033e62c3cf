//! Rooms that are made while every node reads what rooms there are, and ticks
//! what it finds.

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;
use usher::app::node::Node;
use usher::domain::ids::RoomId;
use usher::domain::policy::RoomPolicy;

use crate::bulk;
use crate::redis::RedisServer;

/// More by the environment.
const ROOMS: usize = 100;
const ROOMS_ENV: &str = "USHER_TEST_NEW_ROOMS";
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_room_begins_in_its_first_epoch() {
    let told = std::env::var(ROOMS_ENV).ok();
    let rooms: usize = told.map_or(ROOMS, |text| text.parse().expect("a number"));
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().expect("a directory");
    let nodes = bulk::nodes(&redis, dir.path()).await;
    let all_made = CancellationToken::new();
    let looks = join_all(nodes.iter().map(|node| look(node, &all_made)));
    let makes = async {
        let made = stream::iter(0..rooms).map(|index| make(&nodes[index % 2], index));
        let epochs: Vec<u64> = made.buffer_unordered(AT_ONCE).collect().await;
        all_made.cancel();
        epochs
    };
    let (_, epochs) = tokio::join!(looks, makes);
    assert_eq!(epochs, vec![1; rooms]);
    for node in nodes {
        node.engine.reread_all().await.expect("read");
        let later: Vec<_> = node.engine.rooms().all();
        assert_eq!(later.len(), rooms);
        for room in later {
            assert_eq!(room.record().epoch, 1, "{}", room.id);
        }
        node.stop(bulk::STOP).await;
    }
}

async fn make(node: &Node, index: usize) -> u64 {
    let id = RoomId::parse(&format!("room-{index}")).expect("an id");
    let policy = RoomPolicy::default();
    let made = node
        .engine
        .create_room(id, "Room".to_owned(), policy, Vec::new(), None);
    made.await.expect("made").record().epoch
}

async fn look(node: &Node, all_made: &CancellationToken) {
    while !all_made.is_cancelled() {
        node.engine.reread_all().await.expect("read");
        node.engine.tick_rooms();
        tokio::task::yield_now().await;
    }
}
