//! What every [`EventBus`] and [`EventSink`] must do, run by each adapter.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::{BusEvent, BusMessage, BusSubscription, EventBus, EventSink, OutboxEvent, Outcome};
use crate::domain::delta::{RoomDelta, RoomFacts};
use crate::domain::ids::{Cursor, RoomId};
use crate::domain::place::RoomSwitches;
use crate::domain::time::UnixMs;

/// A delta of room `room` that carries nothing but its revision.
pub(crate) fn message(room: &str, revision: u64) -> BusMessage {
    let delta = RoomDelta {
        cursor: Cursor { epoch: 1, revision },
        published_at: UnixMs(0),
        facts: RoomFacts {
            switches: RoomSwitches::default(),
            opens_at: None,
            rebuilding: false,
            capacity: 1,
            rate_per_s: 1.0,
            pass_ttl_ms: 1_000,
            claim_window_ms: 0,
            lane_weights: vec![1],
            slots_in_use: 0,
            granting: Vec::new(),
        },
        lanes: Vec::new(),
        absent: Vec::new(),
        activated: Vec::new(),
        claimed: Vec::new(),
        ended: Vec::new(),
    };
    BusMessage::Room(RoomId::parse(room).unwrap(), Arc::new(delta))
}

fn revision_of(event: &BusEvent) -> Option<(String, u64)> {
    match event {
        BusEvent::Message(BusMessage::Room(room, delta)) => {
            Some((room.as_str().to_owned(), delta.cursor.revision))
        }
        BusEvent::Message(_) | BusEvent::Gap | BusEvent::RoomGap(_) => None,
    }
}

/// Reads until `last`; answers the revisions seen, and whether a gap was told.
async fn read_until(reader: &mut Box<dyn BusSubscription>, last: u64) -> (Vec<u64>, bool) {
    let (mut revisions, mut gap) = (Vec::new(), false);
    while revisions.last() != Some(&last) {
        match reader.next().await.expect("the bus is there") {
            BusEvent::Gap => gap = true,
            event => revisions.extend(revision_of(&event).map(|(_, revision)| revision)),
        }
    }
    (revisions, gap)
}

/// Runs the promises of [`EventBus`] on fresh buses.
pub(crate) async fn event_bus<B: EventBus>(new_bus: impl Fn() -> B) {
    every_subscription_gets_all_in_order(&new_bus()).await;
    a_subscription_starts_with_what_comes_after_it(&new_bus()).await;
    a_slow_reader_holds_nobody_up_and_knows_what_it_lost(&new_bus()).await;
    a_cancelled_next_loses_nothing(&new_bus()).await;
    publishing_to_nobody_is_fine(&new_bus()).await;
}

async fn every_subscription_gets_all_in_order(bus: &impl EventBus) {
    let mut readers = [
        bus.subscribe().await.unwrap(),
        bus.subscribe().await.unwrap(),
    ];
    for revision in 1..=10 {
        bus.publish(message("a", revision));
    }
    for reader in &mut readers {
        let (revisions, gap) = read_until(reader, 10).await;
        assert!(!gap);
        assert_eq!(revisions, (1..=10).collect::<Vec<_>>());
    }
}

async fn a_subscription_starts_with_what_comes_after_it(bus: &impl EventBus) {
    bus.publish(message("a", 1));
    let mut reader = bus.subscribe().await.unwrap();
    bus.publish(message("a", 2));
    assert_eq!(read_until(&mut reader, 2).await, (vec![2], false));
}

async fn a_slow_reader_holds_nobody_up_and_knows_what_it_lost(bus: &impl EventBus) {
    const SENT: u64 = 10_000;
    let mut slow = bus.subscribe().await.unwrap();
    for revision in 1..=SENT {
        bus.publish(message("a", revision));
    }
    let (revisions, gap) = read_until(&mut slow, SENT).await;
    assert!(revisions.is_sorted());
    assert!(
        gap || revisions.len() as u64 == SENT,
        "messages were lost silently"
    );
}

async fn a_cancelled_next_loses_nothing(bus: &impl EventBus) {
    let mut reader = bus.subscribe().await.unwrap();
    assert!(reader.next().now_or_never().is_none());
    bus.publish(message("b", 7));
    let event = reader.next().await.unwrap();
    assert_eq!(revision_of(&event), Some(("b".to_owned(), 7)));
}

async fn publishing_to_nobody_is_fine(bus: &impl EventBus) {
    drop(bus.subscribe().await.unwrap());
    bus.publish(message("a", 1));
    let mut reader = bus.subscribe().await.unwrap();
    bus.publish(message("a", 2));
    assert_eq!(read_until(&mut reader, 2).await.0, [2]);
}

/// An event of a kind that nobody knows.
pub(crate) fn event(aggregate: &str, version: u64) -> OutboxEvent {
    OutboxEvent {
        id: format!("{aggregate}-{version}"),
        aggregate: aggregate.to_owned(),
        version,
        kind: "conformance.event".to_owned(),
        payload: format!("{{\"version\":{version}}}"),
        created_at: UnixMs(1_700_000_000_000 + version),
        route: None,
        trace: None,
    }
}

/// Whether the first of each event arrived in the order of its aggregate.
pub(crate) fn first_arrivals(all: &[OutboxEvent], aggregate: &str) -> Vec<u64> {
    let mut versions: Vec<u64> = Vec::new();
    for event in all.iter().filter(|event| event.aggregate == aggregate) {
        if !versions.contains(&event.version) {
            versions.push(event.version);
        }
    }
    versions
}

async fn deliver_all(sink: &impl EventSink, batch: &[OutboxEvent]) {
    let delivery = sink.deliver(batch).await;
    assert_eq!(delivery.outcomes.len(), batch.len());
    let is_taken = |outcome: &Outcome| matches!(outcome, Outcome::Taken { .. });
    assert!(delivery.outcomes.iter().all(is_taken), "{delivery:?}");
    assert_eq!(delivery.trouble, None);
}

/// Runs the promises of [`EventSink`]; `taken` answers all that arrived, once
/// there are as many as it is asked for.
pub(crate) async fn event_sink<F>(sink: &impl EventSink, taken: impl Fn(usize) -> F)
where
    F: Future<Output = Vec<OutboxEvent>>,
{
    deliver_all(sink, &[]).await;
    let first = [event("a:1", 1), event("b:1", 1), event("a:1", 2)];
    deliver_all(sink, &first).await;
    deliver_all(sink, &[event("a:1", 3)]).await;
    // A relay that crashed before it marked its batch delivers it again.
    deliver_all(sink, &[event("a:1", 3), event("b:1", 2)]).await;

    let all = taken(6).await;
    for (aggregate, last) in [("a:1", 3), ("b:1", 2)] {
        let versions = first_arrivals(&all, aggregate);
        assert_eq!(versions, (1..=last).collect::<Vec<u64>>(), "{aggregate}");
    }
    assert!(all.contains(&first[1]), "an event arrives as it was sent");
}
