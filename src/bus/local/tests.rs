use super::*;
use crate::bus::conformance;
use crate::domain::time::UnixMs;

fn event(id: &str, payload: &str) -> OutboxEvent {
    OutboxEvent {
        id: id.to_owned(),
        aggregate: "reservation:1".to_owned(),
        version: 1,
        kind: "reservation.held".to_owned(),
        payload: payload.to_owned(),
        created_at: UnixMs(1),
        route: None,
        trace: None,
    }
}

#[tokio::test]
async fn the_local_bus_conforms() {
    conformance::event_bus(|| LocalBus::new(64)).await;
}

#[tokio::test]
async fn a_reader_a_whole_ring_behind_is_told_of_the_gap() {
    let bus = LocalBus::new(4);
    let mut reader = bus.subscribe().await.unwrap();
    for revision in 1..=40 {
        bus.publish(conformance::message("a", revision));
    }
    assert!(matches!(reader.next().await, Some(BusEvent::Gap)));
    let BusEvent::Message(BusMessage::Room(_, delta)) = reader.next().await.unwrap() else {
        panic!("the newest messages follow the gap");
    };
    assert_eq!(delta.cursor.revision, 37);
}

#[tokio::test]
async fn a_reader_sees_the_end_of_the_bus() {
    let bus = LocalBus::new(4);
    let mut reader = bus.subscribe().await.unwrap();
    drop(bus);
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn the_local_sink_conforms() {
    let sink = LocalSink::default();
    let taken = |_count| std::future::ready(sink.read(0, usize::MAX).events);
    conformance::event_sink(&sink, taken).await;
}

#[tokio::test]
async fn the_sink_keeps_the_newest_and_says_what_was_missed() {
    let sink = LocalSink::new(LocalSinkLimits {
        events_max: 2,
        payload_bytes_max: 8,
    });
    let batch: Vec<_> = ["1", "2", "3"].map(|id| event(id, "{}")).into();
    assert_eq!(sink.deliver(&batch).await, Delivery::taken(&batch));
    let read = sink.read(0, 10);
    assert_eq!(read.events, batch[1..]);
    assert_eq!((read.missed, read.next_offset), (1, 3));
    assert!(sink.read(3, 10).events.is_empty());
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_by_name() {
    let sink = LocalSink::new(LocalSinkLimits {
        events_max: 2,
        payload_bytes_max: 8,
    });
    let batch = [event("large", "123456789"), event("small", "1")];
    let delivery = sink.deliver(&batch).await;
    assert!(matches!(
        &delivery.outcomes[..],
        [Outcome::Refused(why), Outcome::Taken { .. }] if why.contains('8')
    ));
}
