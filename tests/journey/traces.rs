//! The trace of a request, as it goes on in the events that the request caused.

use std::collections::BTreeMap;

use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::kafka::Kafka;
use crate::sale::{PRICE_MINOR, policy};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// By their types, what `traceparent` said of the events of a reservation.
async fn traces(brokers: &str, reservation: &str, count: usize) -> BTreeMap<String, String> {
    let reader: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "traces")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    reader.subscribe(&["usher.events"]).expect("subscribed");
    let aggregate = format!("reservation:{reservation}");
    let mut traces = BTreeMap::new();
    let reading = async {
        while traces.len() < count {
            let Ok(message) = reader.recv().await else {
                continue;
            };
            let event = wire::Event::decode(message.payload().expect("bytes")).expect("ours");
            let headers = message.headers().expect("headers");
            let sent = headers.iter().find(|header| header.key == "traceparent");
            let sent = sent.and_then(|header| header.value).expect("a trace");
            let sent = String::from_utf8(sent.to_vec()).expect("a text");
            if event.aggregate == aggregate {
                traces.insert(event.r#type, sent);
            }
        }
    };
    soon("the topic has them", reading).await;
    traces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_on_kafka_belongs_to_the_trace_of_its_request() {
    let kafka = Kafka::start();
    let brokers = kafka.brokers();
    let app = TestApp::start_with(&[("USHER_KAFKA_BROKERS", brokers.as_str())]).await;
    let house = app.build_house(4, policy()).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let seat = map.seats[0].id.as_str();
    let held = buyer.hold(&house.performance, &[seat], "hold").await;
    let held = held.expect("held").id;
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let traced = alice.clone().with_trace(&sent);
    traced.pay(&held, "pay").await.expect("paid");
    // One that makes no sense is as good as none.
    let untraced = alice.clone().with_trace("nonsense");
    untraced.cancel(&held, "cancel").await.expect("cancelled");

    let traces = traces(&brokers, &held, 4).await;
    let of = |kind: &str| {
        traces[kind]
            .split('-')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (confirmed, succeeded) = (of("reservation.confirmed"), of("payment.succeeded"));
    for parts in [&confirmed, &succeeded] {
        assert_eq!((parts[1].as_str(), parts[3].as_str()), (TRACE, "01"));
        assert_ne!(parts[2], "00f067aa0ba902b7");
    }
    assert_ne!(confirmed[2], succeeded[2], "each is a span of its own");
    let (cancelled, refunded) = (of("reservation.cancelled"), of("payment.refunded"));
    assert_eq!(cancelled[1], refunded[1]);
    assert_ne!(cancelled[1], TRACE);
}
