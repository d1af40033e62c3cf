//! Events of a sale on their way: through the process, through one broker that
//! dies and comes back, through three of which one dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;
use usher::app::Tasks;
use usher::proto::v1 as wire;
use usher::store::inbox::Inbox as _;
use usher::store::outbox::Outbox as _;
use usher::truth::failpoint::{Action, Point, Repeat};
use wire::event::Body;

use crate::harness::{TestApp, eventually, soon};
use crate::kafka::Kafka;
use crate::sale::{House, PRICE_MINOR, policy};

impl TestApp {
    /// A user joins, holds a seat and pays for it; answers the reservation.
    pub async fn buy(&self, house: &House, name: &str, seat: usize) -> String {
        let user = self.user(name);
        let pass = user.await_pass(&user.join(&house.room).await.token).await;
        let buyer = user.clone().with_pass(&pass);
        let map = buyer.seat_map(&house.performance).await.expect("seats");
        let seat = map.seats[seat].id.as_str();
        let held = buyer
            .hold(&house.performance, &[seat], "hold")
            .await
            .expect("held");
        user.top_up(PRICE_MINOR, "money").await.expect("topped up");
        user.pay(&held.id, "pay").await.expect("paid");
        held.id
    }

    pub async fn figures_are(&self, sold: u64, revenue_minor: i64) {
        eventually("the figures follow", async || {
            let figures = self.sql.sales_figures(None).await.expect("read")?;
            let revenue: i64 = figures.revenue.iter().map(|money| money.amount_minor).sum();
            ((figures.sold, revenue) == (sold, revenue_minor)).then_some(())
        })
        .await;
    }

    /// Waits until `WatchSales` says so.
    pub async fn watched_sales_are(&self, performance: Option<&str>, told: (u64, u64, i64)) {
        let root = self.admin();
        let request = wire::WatchSalesRequest {
            performance_id: performance.map(str::to_owned),
        };
        let stream = root.operator().watch_sales(root.ask(request)).await;
        let mut stream = stream.expect("a stream").into_inner();
        let seen = async {
            loop {
                let message = stream.message().await.expect("no error");
                let message = message.expect("it goes on");
                let revenue: i64 = message.revenue.iter().map(|money| money.amount_minor).sum();
                if (message.sold, message.held, revenue) == told {
                    return;
                }
            }
        };
        soon("figures", seen).await;
    }

    pub async fn all_is_published(&self) {
        eventually("all is published", async || {
            let backlog = self.sql.backlog().await.expect("read");
            assert_eq!(backlog.dead, 0);
            (backlog.pending == 0).then_some(())
        })
        .await;
    }
}

/// What is in the topic: by aggregate, the versions in the order of their first
/// arrival, and the partitions that they are in.
struct Topic(BTreeMap<String, (Vec<u64>, BTreeSet<i32>)>);

impl Topic {
    /// Reads until it has the last event of each of these reservations.
    async fn read(brokers: &str, last: &[(&str, u64)]) -> Self {
        let reader: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "test")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        reader.subscribe(&["usher.events"]).expect("subscribed");
        let mut topic = Self(BTreeMap::new());
        let reading = async {
            while !last.iter().all(|(id, version)| topic.has(id, *version)) {
                let Ok(message) = reader.recv().await else {
                    continue;
                };
                let event = wire::Event::decode(message.payload().expect("bytes")).expect("ours");
                assert_eq!(message.key(), Some(event.aggregate.as_bytes()));
                assert!(
                    event.body.is_some() && event.unmapped_json.is_empty(),
                    "{event:?}"
                );
                assert_says_what_it_should(&event);
                let (versions, partitions) = topic.0.entry(event.aggregate).or_default();
                partitions.insert(message.partition());
                if !versions.contains(&event.version) {
                    versions.push(event.version);
                }
            }
        };
        soon("the topic has them", reading).await;
        topic
    }

    fn has(&self, reservation: &str, version: u64) -> bool {
        let found = self.0.get(&format!("reservation:{reservation}"));
        found.is_some_and(|(versions, _)| versions.contains(&version))
    }

    /// Each aggregate is whole, in order, and in one partition.
    fn assert_in_order(&self) {
        for (aggregate, (versions, partitions)) in &self.0 {
            let whole: Vec<u64> = (1..=versions.len() as u64).collect();
            assert_eq!(*versions, whole, "{aggregate}");
            assert_eq!(partitions.len(), 1, "{aggregate}: {partitions:?}");
        }
    }
}

fn assert_says_what_it_should(event: &wire::Event) {
    if let Some(Body::Payment(payment)) = &event.body {
        let amount = payment.amount.as_ref().expect("an amount");
        assert_eq!(amount.amount_minor, PRICE_MINOR);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_the_process_itself_consumes() {
    let app = TestApp::start().await;
    let house = app.build_house(4, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    app.buy(&house, "bob", 1).await;
    let one = Some(house.performance.as_str());
    app.watched_sales_are(one, (2, 0, 2 * PRICE_MINOR)).await;
    app.user("alice")
        .cancel(&hers, "cancel")
        .await
        .expect("cancelled");
    app.watched_sales_are(one, (1, 0, PRICE_MINOR)).await;
    app.watched_sales_are(None, (1, 0, PRICE_MINOR)).await;
    let root = app.admin();
    let nowhere = root.ask(wire::WatchSalesRequest {
        performance_id: Some("nowhere".to_owned()),
    });
    let refused = root.operator().watch_sales(nowhere).await;
    assert_eq!(refused.expect_err("unknown").code(), Code::NotFound);
    app.all_is_published().await;
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
}

/// Two sales and their figures while consumers stand still: longer than any
/// that takes ten seconds for an event.
async fn sell_past_consumers(app: &TestApp) -> House {
    let house = app.build_house(8, policy()).await;
    let stand = Action::Pause;
    app.failpoints
        .arm_with(Point::EventsCome, stand, 0, Repeat::Always);
    let hers = app.buy(&house, "alice", 0).await;
    soon("consumers stand", app.failpoints.paused(Point::EventsCome)).await;
    app.buy(&house, "bob", 1).await;
    let cancelled = app.user("alice").cancel(&hers, "cancel").await;
    cancelled.expect("cancelled");
    // They answer what was counted before, and the seats as they are.
    app.watched_sales_are(Some(&house.performance), (0, 0, 0))
        .await;
    house
}

impl TestApp {
    async fn let_consumers_go_on(&self) {
        self.failpoints.disarm(Point::EventsCome);
        self.failpoints.resume(Point::EventsCome);
        self.figures_are(1, PRICE_MINOR).await;
        self.all_is_published().await;
        assert_eq!(self.sql.count_dead_letters().await, Ok(0));
        self.assert_audit_is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_this_process_that_stands_still_holds_up_no_call() {
    let patient = [("USHER_CONSUMERS__ATTEMPTS_MAX", "1000")];
    let app = TestApp::start_with(&patient).await;
    sell_past_consumers(&app).await;
    app.let_consumers_go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_behind_kafka_that_stands_still_holds_up_no_call_and_no_relay() {
    let kafka = Kafka::start();
    let app = TestApp::start_with(&[
        ("USHER_KAFKA_BROKERS", kafka.brokers().as_str()),
        ("USHER_CONSUMERS__APPLY_TIMEOUT_MS", "60000"),
        ("USHER_CONSUMERS__BATCH_EVENTS_MAX", "1"),
    ])
    .await;
    sell_past_consumers(&app).await;
    app.all_is_published().await;
    app.let_consumers_go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_slows_no_sale_and_gets_every_event_when_it_is_back() {
    let mut kafka = Kafka::start();
    let brokers = kafka.brokers();
    let app = TestApp::start_with(&[
        ("USHER_KAFKA_BROKERS", &brokers),
        ("USHER_KAFKA__DELIVERY_TIMEOUT_MS", "500"),
        ("USHER_KAFKA__METADATA_REFRESH_MS", "300"),
        ("USHER_KAFKA__TOPIC_PARTITIONS", "2"),
    ])
    .await;
    let house = app.build_house(8, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    app.figures_are(1, PRICE_MINOR).await;

    kafka.kill(0);
    let his = app.buy(&house, "bob", 1).await;
    app.user("alice")
        .cancel(&hers, "cancel")
        .await
        .expect("cancelled");
    let late = app.buy(&house, "carol", 2).await;
    let backlog = app.sql.backlog().await.expect("read");
    assert!(backlog.pending >= 6, "{backlog:?}");

    kafka.restart(0);
    app.figures_are(2, 2 * PRICE_MINOR).await;
    app.all_is_published().await;

    // Partitions are added while it runs: what began stays where it is.
    kafka.grow_topic("usher.events", 6).await;
    app.user("bob")
        .cancel(&his, "cancel")
        .await
        .expect("cancelled");
    app.buy(&house, "dora", 3).await;
    app.figures_are(2, 2 * PRICE_MINOR).await;
    let topic = Topic::read(&brokers, &[(&hers, 4), (&his, 4), (&late, 2)]).await;
    topic.assert_in_order();
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_brokers_one_may_die() {
    let mut kafka = Kafka::start_three();
    let brokers = kafka.brokers();
    kafka.create_topic("usher.events", 3).await;
    let app = TestApp::start_with(&[
        ("USHER_KAFKA_BROKERS", &brokers),
        ("USHER_KAFKA__DELIVERY_TIMEOUT_MS", "2000"),
    ])
    .await;
    let house = app.build_house(8, policy()).await;
    let first = app.buy(&house, "alice", 0).await;
    app.figures_are(1, PRICE_MINOR).await;
    kafka.kill(2);
    let second = app.buy(&house, "bob", 1).await;
    app.user("alice")
        .cancel(&first, "cancel")
        .await
        .expect("cancelled");
    app.all_is_published().await;
    app.figures_are(1, PRICE_MINOR).await;
    kafka.restart(2);
    let third = app.buy(&house, "carol", 2).await;
    app.all_is_published().await;
    let last = [(first.as_str(), 4), (&second, 2), (&third, 2)];
    Topic::read(&brokers, &last).await.assert_in_order();
    app.assert_audit_is_clean().await;
}

pub type Told = Arc<Mutex<Vec<Value>>>;

/// Notes what it is told; away at first.
async fn receive(
    State((told, mut is_there)): State<(Told, watch::Receiver<bool>)>,
    body: String,
) -> StatusCode {
    if !*is_there.borrow_and_update() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let notification = serde_json::from_str(&body).expect("JSON");
    told.lock().expect("not poisoned").push(notification);
    StatusCode::OK
}

/// A receiver: where it is, what it was told, and the way to let it arrive.
pub async fn receiver() -> (String, Told, watch::Sender<bool>) {
    let told = Told::default();
    let (arrive, is_there) = watch::channel(false);
    let routes = axum::Router::new()
        .route("/told", post(receive))
        .with_state((Arc::clone(&told), is_there));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/told", listener.local_addr().expect("bound"));
    Tasks::new().spawn_named("receiver", async move {
        let _ = axum::serve(listener, routes).await;
    });
    (url, told, arrive)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paid_is_told_to_a_receiver_that_was_away() {
    let kafka = Kafka::start();
    let (url, told, arrive) = receiver().await;
    let app = TestApp::start_with(&[
        ("USHER_KAFKA_BROKERS", kafka.brokers().as_str()),
        ("USHER_NOTIFIER__URL", &url),
        ("USHER_CONSUMERS__BACK_OFF_MS", "50"),
        ("USHER_CONSUMERS__BACK_OFF_MAX_MS", "100"),
        ("USHER_CONSUMERS__ATTEMPTS_MAX", "1"),
    ])
    .await;
    let house = app.build_house(4, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    app.figures_are(1, PRICE_MINOR).await;
    assert!(told.lock().expect("not poisoned").is_empty());
    arrive.send(true).expect("someone listens");
    let cancelled = app.user("alice").cancel(&hers, "cancel").await;
    cancelled.expect("cancelled");
    let types = eventually("it is told", async || {
        let told = told.lock().expect("not poisoned");
        let is_hers = |one: &&Value| one["reservation_id"] == hers.as_str();
        let types = told.iter().filter(is_hers).map(|one| one["type"].clone());
        let types: Vec<Value> = types.collect();
        (types.len() >= 3).then_some(types)
    });
    assert_eq!(types.await[0], "paid");
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
}
