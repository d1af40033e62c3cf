//! Many streams, and a Redis that forgets them: each node says again who is
//! there, in batches, and nobody has to reconnect.

use futures_util::stream::{self, StreamExt as _};
use usher::app::node::Node;
use usher::app::stores::Stores;
use usher::config::Sources;
use usher::domain::ids::{PlaceKey, RoomId, UserId};
use usher::domain::policy::RoomPolicy;
use usher::fanout::{StreamSpec, Subscription};

use crate::harness::soon;
use crate::postgres;
use crate::redis::RedisServer;

/// More by `USHER_TEST_STREAMS`.
const STREAMS: usize = 20_000;
const JOINS_AT_ONCE: usize = 128;
pub const STOP: std::time::Duration = std::time::Duration::from_secs(5);

/// Two nodes in this process: their streams need no connections.
pub async fn nodes(redis: &RedisServer, dir: &std::path::Path) -> [Node; 2] {
    let database = postgres::shared();
    let url = database.url(&database.create(None));
    let env = [
        ("USHER_DATA_DIR", dir.to_str().expect("a path")),
        ("USHER_DATABASE_URL", &url),
        ("USHER_REDIS_URL", &redis.url()),
        ("USHER_KEYS__SOURCE", "sql"),
        ("USHER_KEYS__WRAP_KEY", crate::node::WRAP_KEY),
        ("USHER_DEMO_CATALOG", "false"),
        ("USHER_STREAM__STREAMS_MAX", "100000"),
    ];
    let sources = Sources {
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Sources::default()
    };
    let config = sources.load().expect("valid");
    let start = async || {
        let stores = Stores::open(&config).await.expect("stores");
        Node::start(&config, &stores).await.expect("a node")
    };
    [start().await, start().await]
}

async fn open_stream(node: &Node, room: &RoomId, index: usize) -> Subscription {
    let user = UserId::parse(&format!("user-{index}")).expect("an id");
    let taken = soon("a place", node.engine.join(room, &user, None, None)).await;
    let place: PlaceKey = taken.expect("joined").place.key;
    let opened = node.hub.open(StreamSpec {
        room: room.clone(),
        place,
        user,
        resume: None,
        min_update_interval_ms: None,
        max_duration_ms: None,
        end_on_activation: false,
        known_end: None,
        is_merged: false,
    });
    opened.expect("a stream")
}

/// Until the line says that all who have a stream are there.
async fn all_present(node: &Node, room: &RoomId, epoch: u64, people: u64) {
    let present = async {
        loop {
            let record = node.engine.rooms().get(room).expect("known").record();
            if record.epoch == epoch
                && let Ok(counts) = node.engine.room_counts(room).await
                && counts.waiting >= people
                && counts.waiting - counts.absent == people
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon("everyone present", present).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_every_node_says_all_its_streams_again() {
    let people = std::env::var("USHER_TEST_STREAMS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(STREAMS);
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().expect("a directory");
    let nodes = nodes(&redis, dir.path()).await;
    let room = RoomId::parse("room").expect("an id");
    let policy = RoomPolicy {
        capacity: 0,
        ..RoomPolicy::default()
    };
    let made =
        nodes[0]
            .engine
            .create_room(room.clone(), "Room".to_owned(), policy, Vec::new(), None);
    let epoch = made.await.expect("made").record().epoch;
    nodes[1].engine.reread_all().await.expect("known there");
    // Half of them on each node: only one of the two rebuilds.
    let streams = stream::iter(0..people)
        .map(|index| open_stream(&nodes[index % 2], &room, index))
        .buffer_unordered(JOINS_AT_ONCE);
    let streams: Vec<Subscription> = streams.collect().await;
    let people = streams.len() as u64;
    for node in &nodes {
        all_present(node, &room, epoch, people).await;
    }
    assert_eq!(redis.cli(&["FLUSHALL"]), "OK");
    for node in &nodes {
        all_present(node, &room, epoch + 1, people).await;
    }
    drop(streams);
    for node in nodes {
        node.stop(STOP).await;
    }
}
