//! `kill -9` of a relay between its broker's receipt and the mark: what was
//! published comes once more, and nothing is lost or out of order.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use usher::proto::v1 as wire;
use usher::store::outbox::Outbox as _;
use usher::truth::failpoint::Point;

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, PRICE_MINOR};
use crate::kafka::Kafka;
use crate::people::User;
use crate::server::{self, Server};

/// What a topic has: by aggregate the versions as they first came, and how often
/// each event came.
#[derive(Default)]
struct Topic {
    versions: BTreeMap<String, Vec<u64>>,
    times: HashMap<String, u32>,
}

impl Topic {
    /// Reads on until it has this.
    async fn read_until(&mut self, reader: &StreamConsumer, is_enough: impl Fn(&Self) -> bool) {
        let reading = async {
            while !is_enough(self) {
                let Ok(message) = reader.recv().await else {
                    continue;
                };
                let bytes = message.payload().expect("bytes");
                let event = wire::Event::decode(bytes).expect("ours");
                let times = self.times.entry(event.id).or_default();
                *times += 1;
                if *times == 1 {
                    let versions = self.versions.entry(event.aggregate).or_default();
                    versions.push(event.version);
                }
            }
        };
        soon("events", reading).await;
    }

    fn has(&self, aggregate: &str, version: u64) -> bool {
        let versions = self.versions.get(aggregate);
        versions.is_some_and(|versions| versions.contains(&version))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_a_brokers_receipt_and_the_mark() {
    let kafka = Kafka::start();
    kafka.create_topic("usher.events", 2).await;
    let brokers = kafka.brokers();
    let reader: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    reader.subscribe(&["usher.events"]).expect("subscribed");

    let dir = tempfile::tempdir().expect("a directory");
    let env = [("USHER_KAFKA_BROKERS", brokers.as_str())];
    // Nothing is marked in its first life.
    let armed = format!("{}=kill", Point::EventsDelivered.name());
    let (mut server, port) =
        Server::first(dir.path(), &[env[0], ("USHER_FAILPOINTS", &armed)]).await;
    let world = World::new(port);
    let house = house::build(&world).await;
    let alice = User::new(world.channel.clone(), "alice");
    let ticket = alice.join(house.room.as_str()).await;
    let pass = alice.await_pass(&ticket.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let seats = [map.seats[0].id.as_str()];
    let held = buyer.hold(&house.performance, &seats, "hold").await;
    let held = held.expect("held").id;
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    // Its answer may be lost with the server.
    let _ = alice.pay(&held, "pay").await;
    server.died().await;

    let mut server = Server::again(dir.path(), port, &env).await;
    alice.pay(&held, "pay").await.expect("paid");
    alice.cancel(&held, "cancel").await.expect("cancelled");
    let reservation = format!("reservation:{held}");
    let mut topic = Topic::default();
    let last = 4;
    topic
        .read_until(&reader, |topic| topic.has(&reservation, last))
        .await;
    topic
        .read_until(&reader, |topic| {
            topic.times.values().any(|times| *times > 1)
        })
        .await;
    for (aggregate, versions) in &topic.versions {
        let whole: Vec<u64> = (1..=versions.len() as u64).collect();
        assert_eq!(*versions, whole, "{aggregate}");
    }
    server.kill().await;
    let sql = usher::app::stores::open_sql(&server::config(dir.path())).await;
    let backlog = sql.expect("opened").backlog().await.expect("read");
    assert_eq!(backlog.dead, 0);
    server::assert_is_sound(dir.path()).await;
}
