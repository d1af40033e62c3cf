//! The sink and the source against a real Kafka, and against librdkafka's own
//! broker for errors that a real one cannot be made to give.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::time::{Instant, timeout};

use super::server::Kafka;
use super::sink::trace_parent;
use super::*;
use crate::bus::conformance::{self, event, first_arrivals};
use crate::bus::{
    Arrival, DeadLetters as _, Delivery, EventSink, EventSource, OutboxEvent, Outcome,
};
use crate::config::{Config, Flags, KafkaConfig, Sources};
use crate::domain::trace::Trace;
use crate::metrics::{KAFKA_MESSAGES, Metrics};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The broker of this process.
pub(super) fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(Kafka::start)
}

pub(super) fn config(topic: &str) -> KafkaConfig {
    let flags = Flags::new();
    let sources = Sources {
        file: None,
        env: Default::default(),
        flags,
    };
    let config: Config = sources.load().expect("the defaults");
    KafkaConfig {
        topic: topic.to_owned(),
        topic_partitions: 3,
        delivery_timeout_ms: 20_000,
        metadata_refresh_ms: 200,
        session_timeout_ms: 6_000,
        ..config.kafka
    }
}

pub(super) fn sink(brokers: &str, config: &KafkaConfig) -> KafkaSink {
    KafkaSink::new(brokers, config, &Metrics::new()).expect("a sink")
}

pub(super) fn source(brokers: &str, config: &KafkaConfig) -> KafkaSource {
    let lag = Metrics::new().gauge(&crate::metrics::CONSUMER_LAG, &["test"]);
    KafkaSource::new(brokers, config, "test", lag).expect("a source")
}

/// Reads until there are so many.
async fn read(source: &mut KafkaSource, count: usize) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    while arrivals.len() < count {
        let next = timeout(PATIENCE, source.next(100)).await;
        arrivals.extend(next.expect("there are more"));
        source.commit();
    }
    arrivals
}

fn events(arrivals: Vec<Arrival>) -> Vec<OutboxEvent> {
    arrivals.into_iter().map(|arrival| arrival.event).collect()
}

/// Delivers what is later again, as the relay does.
pub(super) async fn deliver_until_taken(sink: &KafkaSink, batch: &[OutboxEvent]) {
    let ends_at = Instant::now() + PATIENCE;
    let mut pending = batch.to_vec();
    while !pending.is_empty() {
        assert!(Instant::now() < ends_at, "not taken in {PATIENCE:?}");
        let delivery = sink.deliver(&pending).await;
        let mut outcomes = delivery.outcomes.iter();
        pending.retain(|_| matches!(outcomes.next(), Some(Outcome::Later | Outcome::Waits)));
    }
}

fn routes(delivery: &Delivery) -> Vec<Option<u32>> {
    let route = |outcome: &Outcome| match outcome {
        Outcome::Taken { route } => *route,
        Outcome::Refused(_) | Outcome::Later | Outcome::Waits => None,
    };
    delivery.outcomes.iter().map(route).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kafka_sink_conforms() {
    let brokers = shared().brokers();
    let config = config("conforms");
    ensure_topic(&brokers, &config, "conforms", 3)
        .await
        .expect("a topic");
    ensure_topic(&brokers, &config, "conforms", 3)
        .await
        .expect("it is there");
    let sink = sink(&brokers, &config);
    let source = tokio::sync::Mutex::new(source(&brokers, &config));
    let source = &source;
    let taken = |count| async move {
        let mut source = source.lock().await;
        events(read(&mut source, count).await)
    };
    conformance::event_sink(&sink, taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_says_id_type_and_trace_and_is_keyed_by_its_aggregate() {
    let brokers = shared().brokers();
    let config = config("headers");
    ensure_topic(&brokers, &config, "headers", 1)
        .await
        .expect("a topic");
    let one = event("reservation:42", 1);
    deliver_until_taken(&sink(&brokers, &config), std::slice::from_ref(&one)).await;
    let reader: StreamConsumer = super::client(&brokers)
        .set("group.id", "headers")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    reader.subscribe(&["headers"]).expect("subscribed");
    let message = timeout(PATIENCE, reader.recv()).await.expect("in time");
    let message = message.expect("a message").detach();
    assert_eq!(message.key(), Some(one.aggregate.as_bytes()));
    let at = i64::try_from(one.created_at.0).expect("small");
    assert_eq!(message.timestamp().to_millis(), Some(at));
    let headers = message.headers().expect("headers");
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.key == name);
        String::from_utf8_lossy(found.and_then(|header| header.value).expect("there")).into_owned()
    };
    assert_eq!((header("id"), header("type")), (one.id, one.kind));
    let trace = header("traceparent");
    let parts: Vec<usize> = trace.split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2], "{trace}");
}

#[test]
fn an_event_is_a_span_of_its_request_or_else_of_its_aggregate() {
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let of_request = OutboxEvent {
        trace: Trace::from_parent(sent),
        ..event("reservation:1", 1)
    };
    let told = trace_parent(&of_request);
    assert!(told.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert!(told.ends_with("-01"));
    assert!(!told.contains("b7ad6b7169203331"), "the caller's own span");
    // Published again it is the same.
    assert_eq!(trace_parent(&of_request), told);
    let trace_of = |event| trace_parent(&event)[3..35].to_owned();
    let one = trace_of(event("reservation:1", 1));
    assert_eq!(trace_of(event("reservation:1", 2)), one);
    assert_ne!(trace_of(event("reservation:2", 1)), one);
}

/// Partitions are added while events flow: every aggregate stays where it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_keep_the_order_of_every_key() {
    let kafka = shared();
    let config = config("growing");
    kafka.create_topic("growing", 2).await;
    let sink = sink(&kafka.brokers(), &config);
    let mut source = source(&kafka.brokers(), &config);
    let names: Vec<String> = (0..20).map(|n| format!("reservation:{n}")).collect();
    let wave = |names: &[String], version, route: Option<u32>| -> Vec<OutboxEvent> {
        let routed = |name: &String| OutboxEvent {
            route,
            ..event(name, version)
        };
        names.iter().map(routed).collect()
    };
    let first = sink.deliver(&wave(&names, 1, None)).await;
    assert_eq!(routes(&first), vec![Some(2); 20]);
    kafka.grow_topic("growing", 8).await;

    // A new aggregate goes by the new number, once it is known.
    let fresh: Vec<String> = (100..140).map(|n| format!("reservation:{n}")).collect();
    let mut version = 1;
    let ends_at = Instant::now() + PATIENCE;
    loop {
        let delivery = sink.deliver(&wave(&fresh[..1], version, None)).await;
        if routes(&delivery) == [Some(8)] {
            break;
        }
        assert!(Instant::now() < ends_at, "{delivery:?}");
        version += 1;
    }
    deliver_until_taken(&sink, &wave(&fresh[1..], 1, None)).await;
    for version in 2..=5 {
        let later = sink.deliver(&wave(&names, version, Some(2))).await;
        assert_eq!(routes(&later), vec![Some(2); 20]);
    }

    let count = 20 * 5 + 39 + usize::try_from(version).expect("few");
    let all = events(read(&mut source, count).await);
    for name in &names {
        assert_eq!(first_arrivals(&all, name), [1, 2, 3, 4, 5], "{name}");
    }
}

/// The key and partition of each of so many messages of a topic.
async fn placed(brokers: &str, topic: &str, count: usize) -> BTreeMap<String, BTreeSet<i32>> {
    let reader: StreamConsumer = super::client(brokers)
        .set("group.id", "placed")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    reader.subscribe(&[topic]).expect("subscribed");
    let mut placed: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for _ in 0..count {
        let message = timeout(PATIENCE, reader.recv()).await.expect("in time");
        let message = message.expect("a message");
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        placed.entry(key).or_default().insert(message.partition());
    }
    placed
}

/// One node has seen that partitions were added, another has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_knows_too_few_partitions_asks_again_before_it_sends() {
    let kafka = shared();
    let brokers = kafka.brokers();
    let (seen, unseen) = (
        config("seen"),
        KafkaConfig {
            metadata_refresh_ms: 600_000,
            ..config("seen")
        },
    );
    kafka.create_topic("seen", 2).await;
    let (seeing, other) = (sink(&brokers, &seen), sink(&brokers, &unseen));
    let first = other.deliver(&[event("other:1", 1)]).await;
    assert_eq!(routes(&first), [Some(2)]);
    kafka.grow_topic("seen", 8).await;
    let ends_at = Instant::now() + PATIENCE;
    let mut probes = 0;
    loop {
        probes += 1;
        let probe = event(&format!("probe:{probes}"), 1);
        if routes(&seeing.deliver(&[probe]).await) == [Some(8)] {
            break;
        }
        assert!(Instant::now() < ends_at, "never 8");
    }
    let wave = |version, route| -> Vec<OutboxEvent> {
        let routed = |n| OutboxEvent {
            route,
            ..event(&format!("reservation:{n}"), version)
        };
        (0..20).map(routed).collect()
    };
    assert_eq!(routes(&seeing.deliver(&wave(1, None)).await), [Some(8); 20]);
    deliver_until_taken(&other, &wave(2, Some(8))).await;
    for (key, partitions) in placed(&brokers, "seen", 41 + probes).await {
        assert_eq!(partitions.len(), 1, "{key} is in {partitions:?}");
    }
}

/// Made anew with fewer partitions, say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_whose_partition_is_missing_waits_and_no_other() {
    let kafka = shared();
    let brokers = kafka.brokers();
    kafka.create_topic("missing", 2).await;
    let routed = |n: u32, version, route| OutboxEvent {
        route: Some(route),
        ..event(&format!("reservation:{n}"), version)
    };
    let old = (0..20).flat_map(|n| [routed(n, 2, 50), routed(n, 3, 50)]);
    let new = (20..40).map(|n| routed(n, 2, 2));
    let batch: Vec<OutboxEvent> = old.chain(new).collect();
    let delivery = sink(&brokers, &config("missing")).deliver(&batch).await;
    let waits = |pair: &[Outcome]| pair == [Outcome::Waits, Outcome::Waits];
    let old: Vec<_> = delivery.outcomes[..40].chunks(2).collect();
    // Of fifty partitions two are there.
    assert!(
        old.iter().filter(|pair| waits(pair)).count() >= 15,
        "{old:?}"
    );
    assert_eq!(routes(&delivery)[40..], [Some(2); 20]);
    assert_eq!(delivery.trouble, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_is_refused_and_holds_back_nobody() {
    let kafka = shared();
    kafka.create_topic("large", 1).await;
    let config = KafkaConfig {
        message_bytes_max: 10_000,
        ..config("large")
    };
    let mut large = event("a:1", 1);
    large.payload = format!("{{\"text\":\"{}\"}}", "x".repeat(20_000));
    let batch = [large, event("a:1", 2), event("b:1", 1)];
    let delivery = sink(&kafka.brokers(), &config).deliver(&batch).await;
    assert!(matches!(
        &delivery.outcomes[..],
        [Outcome::Refused(why), Outcome::Taken { .. }, Outcome::Taken { .. }] if why.contains("10000")
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_goes_on_behind_what_was_committed_and_names_what_it_cannot_read() {
    let kafka = shared();
    kafka.create_topic("reading", 1).await;
    let config = config("reading");
    let brokers = kafka.brokers();
    let sink = sink(&brokers, &config);
    deliver_until_taken(&sink, &[event("a:1", 1)]).await;
    put_garbage(&brokers, "reading").await;
    deliver_until_taken(&sink, &[event("a:1", 2)]).await;
    {
        let mut first = source(&brokers, &config);
        let arrivals = read(&mut first, 3).await;
        let unreadable: Vec<bool> = arrivals
            .iter()
            .map(|one| one.unreadable.is_some())
            .collect();
        assert_eq!(unreadable, [false, true, false]);
        assert_eq!(arrivals[1].event.id, "0@1");
        // Nothing is lost that comes meanwhile, and nobody takes it for dead.
        first.pause(Duration::from_millis(300)).await;
        deliver_until_taken(&sink, &[event("a:1", 3)]).await;
        let next = timeout(PATIENCE, first.next(10)).await.expect("more");
        assert_eq!(next[0].event.version, 3);
    }
    // The last one was not committed.
    let mut second = source(&brokers, &config);
    let again = events(read(&mut second, 1).await);
    assert_eq!(again.last().expect("one").version, 3);
}

async fn put_garbage(brokers: &str, topic: &str) {
    let producer: rdkafka::producer::FutureProducer =
        super::client(brokers).create().expect("a producer");
    let record = rdkafka::producer::FutureRecord::to(topic)
        .key("a:1")
        .payload(&b"\0\xff\xff"[..]);
    producer.send(record, PATIENCE).await.expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_go_to_a_topic_of_their_consumer() {
    let brokers = shared().brokers();
    let config = config("lively");
    let letters = KafkaDeadLetters::new(&brokers, &config).expect("letters");
    letters
        .put("sales", &event("a:1", 1), "planted")
        .await
        .expect("put");
    let of_dead = KafkaConfig {
        topic: "lively.usher.sales.dlq".to_owned(),
        ..config
    };
    let mut reader = source(&brokers, &of_dead);
    assert_eq!(events(read(&mut reader, 1).await)[0], event("a:1", 1));
}

/// A cluster inside this process, with a topic.
fn mock(topic: &str) -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(topic, 2, 1).expect("a topic");
    cluster
}

fn some() -> Vec<OutboxEvent> {
    let names = ["a:1", "b:1", "c:1"];
    let versions = (1..=3).flat_map(|version| names.map(|name| event(name, version)));
    versions.collect()
}

async fn assert_in_order(brokers: &str, config: &KafkaConfig) {
    let mut source = source(brokers, config);
    // Duplicates may come before the last of the nine.
    let mut all = events(read(&mut source, 9).await);
    for name in ["a:1", "b:1", "c:1"] {
        while first_arrivals(&all, name).len() < 3 {
            all.extend(events(read(&mut source, 1).await));
        }
        assert_eq!(first_arrivals(&all, name), [1, 2, 3], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_keeps_all_for_later_and_gets_it_in_order() {
    let cluster = mock("down");
    let config = KafkaConfig {
        delivery_timeout_ms: 500,
        ..config("down")
    };
    let brokers = cluster.bootstrap_servers();
    let metrics = Metrics::new();
    let sink = KafkaSink::new(&brokers, &config, &metrics).expect("a sink");
    deliver_until_taken(&sink, &[event("z:1", 1)]).await;
    cluster.broker_down(1).expect("down");
    let delivery = timeout(Duration::from_secs(20), sink.deliver(&some())).await;
    let delivery = delivery.expect("it answers in bounded time");
    assert_eq!(delivery.outcomes, vec![Outcome::Later; 9]);
    assert!(delivery.trouble.is_some());
    assert!(
        metrics
            .render()
            .contains("usher_kafka_messages_total{outcome=\"failed\"}")
    );
    assert_eq!(KAFKA_MESSAGES.labels, ["outcome"]);
    cluster.broker_up(1).expect("up");
    deliver_until_taken(&sink, &some()).await;
    assert_in_order(&brokers, &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_a_broker_are_hidden_or_told_as_later_and_order_is_kept() {
    let cluster = mock("errors");
    let config = config("errors");
    let brokers = cluster.bootstrap_servers();
    let sink = sink(&brokers, &config);
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    deliver_until_taken(&sink, &some()).await;
    assert_in_order(&brokers, &config).await;
}

/// The answer comes later than anyone waits for it: the fate is unknown, and
/// what is delivered again is a duplicate at worst.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_late_makes_duplicates_and_no_disorder() {
    let cluster = mock("late");
    let config = KafkaConfig {
        delivery_timeout_ms: 1_000,
        ..config("late")
    };
    let brokers = cluster.bootstrap_servers();
    let sink = sink(&brokers, &config);
    deliver_until_taken(&sink, &[event("z:1", 1)]).await;
    let slow = Duration::from_secs(5);
    cluster.broker_round_trip_time(1, slow).expect("slow");
    let delivery = sink.deliver(&some()).await;
    let is_taken = |outcome: &Outcome| matches!(outcome, Outcome::Taken { .. });
    assert!(!delivery.outcomes.iter().any(is_taken), "{delivery:?}");
    cluster
        .broker_round_trip_time(1, Duration::ZERO)
        .expect("fast");
    deliver_until_taken(&sink, &some()).await;
    assert_in_order(&brokers, &config).await;
}

/// Left to itself, the client waits for a broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_leaves_in_bounded_time_though_its_broker_is_gone() {
    let cluster = mock("leaving");
    let config = config("leaving");
    let brokers = cluster.bootstrap_servers();
    deliver_until_taken(&sink(&brokers, &config), &some()).await;
    let mut source = source(&brokers, &config);
    read(&mut source, 9).await;
    cluster.broker_down(1).expect("down");
    source.commit();
    let left = tokio::task::spawn_blocking(move || drop(source));
    let left = timeout(PATIENCE, left).await;
    left.expect("in bounded time").expect("no panic");
}
