//! Members of one group, whose partitions move.

use rdkafka::consumer::BaseConsumer;
use tokio::time::timeout;

use super::super::tests::{PATIENCE, config, deliver_until_taken, shared, sink, source};
use super::*;
use crate::bus::conformance::event;

const PAUSE: Duration = Duration::from_millis(200);

fn assigned(source: &KafkaSource) -> BTreeSet<i32> {
    let mine = source.consumer.assignment().expect("an assignment");
    mine.elements().iter().map(|one| one.partition()).collect()
}

/// What the group has committed of a topic's two partitions.
fn committed(brokers: &str, config: &KafkaConfig) -> Vec<Offset> {
    let asking: BaseConsumer = client(brokers)
        .set("group.id", format!("{}.test", config.group))
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition(&config.topic, 0);
    list.add_partition(&config.topic, 1);
    let found = asking.committed_offsets(list, Duration::from_secs(10));
    let found = found.expect("an answer");
    found.elements().iter().map(|one| one.offset()).collect()
}

/// Until it has so many partitions; what it reads meanwhile is early.
async fn settle(source: &mut KafkaSource, count: usize) {
    let settling = async {
        while assigned(source).len() != count {
            source.pause(PAUSE).await;
        }
    };
    timeout(PATIENCE, settling).await.expect("in time");
}

async fn read(source: &mut KafkaSource, count: usize) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    while arrivals.len() < count {
        let next = timeout(PATIENCE, source.next(100)).await;
        arrivals.extend(next.expect("there are more"));
    }
    arrivals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_moved_is_not_set_back_by_the_member_it_moved_from() {
    let kafka = shared();
    let brokers = kafka.brokers();
    let config = KafkaConfig {
        group: "moving".to_owned(),
        ..config("moving")
    };
    kafka.create_topic("moving", 2).await;
    let sink = sink(&brokers, &config);
    let wave = |version| -> Vec<OutboxEvent> {
        let names = (0..10).map(|n| format!("reservation:{n}"));
        names.map(|name| event(&name, version)).collect()
    };
    deliver_until_taken(&sink, &wave(1)).await;
    let mut first = source(&brokers, &config);
    // Handed over and not yet consumed when the partitions move.
    read(&mut first, 10).await;
    let mut second = source(&brokers, &config);
    let joining = async { tokio::join!(settle(&mut first, 1), settle(&mut second, 1)) };
    timeout(PATIENCE, joining).await.expect("both have one");
    deliver_until_taken(&sink, &wave(2)).await;
    let moved = *assigned(&second).first().expect("one");
    // From its beginning: nothing was committed.
    let mut ahead = read(&mut second, 2).await.len();
    second.commit();
    let is_ahead = |ahead: usize| {
        let at = committed(&brokers, &config)[usize::try_from(moved).expect("0 or 1")];
        (at == Offset::Offset(i64::try_from(ahead).expect("few"))).then_some(at)
    };
    let ends_at = Instant::now() + PATIENCE;
    let before = loop {
        if let Some(at) = is_ahead(ahead) {
            break at;
        }
        assert!(Instant::now() < ends_at, "never committed {ahead}");
        if let Ok(more) = timeout(PAUSE, second.next(100)).await {
            ahead += more.len();
            second.commit();
        }
    };
    first.commit();
    first.pause(PAUSE * 3).await;
    assert_eq!(is_ahead(ahead), Some(before), "set back");
    // What it has left is read again, all of it.
    let kept = assigned(&first);
    let again = read(&mut first, 2).await;
    assert!(!kept.contains(&moved) && again[0].event.version == 1);
}

/// Partitions come to a member that waits, with all that is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_waits_keeps_little_of_what_comes() {
    let kafka = shared();
    let brokers = kafka.brokers();
    let config = config("waiting");
    kafka.create_topic("waiting", 1).await;
    let all: Vec<OutboxEvent> = (1..=500).map(|n| event(&format!("a:{n}"), 1)).collect();
    deliver_until_taken(&sink(&brokers, &config), &all).await;
    let mut source = source(&brokers, &config);
    settle(&mut source, 1).await;
    source.pause(PAUSE * 5).await;
    let early = source.early.len();
    assert!(early <= 2, "{early} are kept");
    let arrivals = read(&mut source, 500).await;
    let ids: Vec<&str> = arrivals
        .iter()
        .map(|one| one.event.aggregate.as_str())
        .collect();
    let sent: Vec<&str> = all.iter().map(|one| one.aggregate.as_str()).collect();
    assert_eq!(ids, sent, "nothing is lost or out of order");
}
