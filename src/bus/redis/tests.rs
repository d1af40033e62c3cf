use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::conformance;
use crate::metrics::Metrics;
use crate::redis_link::servers::{RedisCluster, RedisServer};
use crate::redis_link::tests::config;

fn node_with(url: &str, origin: u64, config: &RedisConfig) -> RedisBus {
    let client = RedisClient::new(url, config, &Metrics::new()).unwrap();
    let (bus, run) = RedisBus::new(&client, config, origin);
    TaskTracker::new().spawn(run);
    bus
}

fn node(url: &str, origin: u64) -> RedisBus {
    node_with(url, origin, &config())
}

/// Publishes on one node, subscribes on another.
struct Across {
    from: RedisBus,
    to: RedisBus,
}

impl Across {
    fn new(url: &str) -> Self {
        let mut config = config();
        // The suite publishes 10,000 messages without a pause.
        config.bus_messages_max = 16_384;
        Self {
            from: node_with(url, 1, &config),
            to: node(url, 2),
        }
    }
}

#[async_trait]
impl EventBus for Across {
    fn publish(&self, message: BusMessage) {
        self.from.publish(message);
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        self.from.flush().await?;
        self.to.subscribe().await
    }
}

#[tokio::test]
async fn one_node_keeps_the_promises() {
    let server = RedisServer::start();
    conformance::event_bus(|| node(&server.url(), 1)).await;
}

#[tokio::test]
async fn two_nodes_keep_the_promises() {
    let server = RedisServer::start();
    conformance::event_bus(|| Across::new(&server.url())).await;
}

#[tokio::test]
async fn two_nodes_on_a_cluster_keep_the_promises() {
    let cluster = RedisCluster::start();
    conformance::event_bus(|| Across::new(&cluster.url())).await;
}

async fn heard(reader: &mut Box<dyn BusSubscription>) -> BusEvent {
    let patience = Duration::from_secs(60);
    let event = tokio::time::timeout(patience, reader.next()).await;
    event
        .expect("something is heard")
        .expect("the bus is there")
}

fn seats(id: &str) -> BusMessage {
    BusMessage::Seats {
        performance: crate::domain::ids::ResourceId::parse(id).unwrap(),
    }
}

fn names_seats(event: &BusEvent, id: &str) -> bool {
    matches!(event, BusEvent::Message(BusMessage::Seats { performance }) if performance.as_str() == id)
}

/// A delta as scripts write it.
fn delta_text(revision: u64) -> String {
    let facts = serde_json::to_string(&facts()).unwrap();
    format!(
        r#"{{"epoch":1,"revision":{revision},"published_at":5,"facts":{facts},"opened":true,
        "closed":false,"rebuilding":false,"rate_per_s":"1","slots_in_use":0,"granting":[],"lanes":[],"absent":[],
        "activated":[],"claimed":[],"ended":[]}}"#
    )
}

fn facts() -> crate::domain::delta::RoomFacts {
    let BusMessage::Room(_, delta) = conformance::message("a", 1) else {
        panic!("a delta");
    };
    delta.facts.clone()
}

#[tokio::test]
async fn a_followed_room_is_heard_after_its_gap() {
    let server = RedisServer::start();
    let bus = node(&server.url(), 1);
    let mut reader = bus.subscribe().await.unwrap();
    let room = RoomId::parse("spring").unwrap();
    bus.follow(&room);
    assert!(matches!(heard(&mut reader).await, BusEvent::RoomGap(gap) if gap == room));
    let channel = crate::store::redis::keys::channel(&room);
    assert_eq!(server.cli(&["PUBLISH", &channel, &delta_text(7)]), "1");
    let BusEvent::Message(BusMessage::Room(of, delta)) = heard(&mut reader).await else {
        panic!("a delta");
    };
    assert_eq!((of, delta.cursor.revision), (room.clone(), 7));
    server.cli(&["PUBLISH", &channel, "nonsense"]);
    assert!(matches!(heard(&mut reader).await, BusEvent::RoomGap(gap) if gap == room));
}

#[tokio::test]
async fn a_room_is_heard_at_its_server_in_a_cluster() {
    let cluster = RedisCluster::start();
    let bus = node(&cluster.url(), 1);
    let mut reader = bus.subscribe().await.unwrap();
    for n in 0..12 {
        let room = RoomId::parse(&format!("room-{n}")).unwrap();
        bus.follow(&room);
        assert!(matches!(heard(&mut reader).await, BusEvent::RoomGap(gap) if gap == room));
        let channel = crate::store::redis::keys::channel(&room);
        let publish = ["-c", "SPUBLISH", &channel, &delta_text(n)];
        assert!(cluster.nodes[0].cli(&publish).ends_with('1'));
        let event = heard(&mut reader).await;
        assert!(matches!(event, BusEvent::Message(BusMessage::Room(of, _)) if of == room));
    }
}

#[tokio::test]
async fn a_cut_subscription_is_made_anew_and_tells_a_gap() {
    let server = RedisServer::start();
    let (one, other) = (node(&server.url(), 1), node(&server.url(), 2));
    let mut reader = one.subscribe().await.unwrap();
    for _cut in 0..3 {
        server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert!(matches!(heard(&mut reader).await, BusEvent::Gap));
        other.publish(seats("p"));
        assert!(names_seats(&heard(&mut reader).await, "p"));
    }
}

#[tokio::test]
async fn a_server_that_died_ends_in_a_gap() {
    let mut server = RedisServer::start();
    let (one, other) = (node(&server.url(), 1), node(&server.url(), 2));
    let mut reader = one.subscribe().await.unwrap();
    server.restart();
    assert!(matches!(heard(&mut reader).await, BusEvent::Gap));
    loop {
        // The other node may find the server later, and says so.
        other.publish(seats("p"));
        match heard(&mut reader).await {
            BusEvent::Gap => {}
            event => break assert!(names_seats(&event, "p")),
        }
    }
}

#[tokio::test]
async fn a_silent_connection_must_echo_or_is_left() {
    let server = RedisServer::start();
    let mut config = config();
    config.probe_interval_ms = 2_000;
    let bus = node_with(&server.url(), 1, &config);
    let mut reader = bus.subscribe().await.unwrap();
    let subscribers = || server.cli(&["PUBSUB", "NUMSUB", "usher:{nodes}"]);
    let id = || {
        let all = server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        all.split_whitespace().next().unwrap_or_default().to_owned()
    };
    let first = id();
    assert!(subscribers().ends_with('1'));
    // It echoes: nothing changes in five intervals.
    let quiet = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(id(), first);
    // Whoever publishes nothing any more to it is another server's master.
    server.cli(&["ACL", "SETUSER", "default", "-publish"]);
    assert!(matches!(heard(&mut reader).await, BusEvent::Gap));
    assert_ne!(id(), first);
}

#[tokio::test]
async fn what_could_not_be_sent_is_a_gap_for_the_others() {
    let mut server = RedisServer::start();
    let (one, other) = (node(&server.url(), 1), node(&server.url(), 2));
    let mut own = one.subscribe().await.unwrap();
    server.kill();
    one.publish(seats("lost"));
    // This node itself misses nothing.
    assert!(names_seats(&heard(&mut own).await, "lost"));
    one.flush().await.unwrap();
    assert!(one.shared.has_lost.load(Ordering::SeqCst));
    server.restart();
    let mut reader = other.subscribe().await.unwrap();
    loop {
        one.publish(seats("kept"));
        one.flush().await.unwrap();
        match heard(&mut reader).await {
            BusEvent::Gap => break,
            event => assert!(names_seats(&event, "kept")),
        }
    }
}

async fn give_up_a_room(url: &str, publish: impl Fn(&RoomId) -> String) {
    let bus = node(url, 1);
    let mut reader = bus.subscribe().await.unwrap();
    let [gone, kept] = ["gone", "kept"].map(|room| RoomId::parse(room).unwrap());
    for room in [&gone, &kept] {
        bus.follow(room);
        assert!(matches!(heard(&mut reader).await, BusEvent::RoomGap(gap) if gap == *room));
        assert_eq!(publish(room), "1");
        let event = heard(&mut reader).await;
        assert!(matches!(event, BusEvent::Message(BusMessage::Room(of, _)) if of == *room));
    }
    bus.unfollow(&gone);
    crate::redis_link::servers::until("the channel is given up", || publish(&gone) == "0");
    assert_eq!(publish(&kept), "1");
    loop {
        match heard(&mut reader).await {
            BusEvent::Message(BusMessage::Room(of, _)) if of == gone => {}
            // No gap: the connection is the same.
            event => {
                break assert!(
                    matches!(event, BusEvent::Message(BusMessage::Room(of, _)) if of == kept)
                );
            }
        }
    }
    bus.follow(&gone);
    assert!(matches!(heard(&mut reader).await, BusEvent::RoomGap(gap) if gap == gone));
    assert_eq!(publish(&gone), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_is_followed_no_more_is_given_up_without_a_gap() {
    let server = RedisServer::start();
    let said = |room: &RoomId| {
        let channel = crate::store::redis::keys::channel(room);
        server.cli(&["PUBLISH", &channel, &delta_text(7)])
    };
    give_up_a_room(&server.url(), said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_too_a_room_is_given_up_without_a_gap() {
    let cluster = RedisCluster::start();
    let said = |room: &RoomId| {
        let channel = crate::store::redis::keys::channel(room);
        let publish = ["-c", "SPUBLISH", &channel, &delta_text(7)];
        let heard_by = cluster.nodes[0].cli(&publish);
        heard_by
            .chars()
            .last()
            .map(String::from)
            .unwrap_or_default()
    };
    give_up_a_room(&cluster.url(), said).await;
}
