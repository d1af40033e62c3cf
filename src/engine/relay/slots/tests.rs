//! A room that cannot be told, among others that can.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::bus::local::LocalSink;
use crate::domain::time::UnixMs;

/// Rooms named `away` fail, rooms named `silent` never answer.
#[derive(Default)]
struct Rooms(Mutex<Vec<RoomId>>);

#[async_trait]
impl SlotReleaser for Rooms {
    async fn release(
        &self,
        room: &RoomId,
        _: ActivationId,
        _: EndReason,
    ) -> Result<(), EngineError> {
        self.0.lock().unwrap().push(room.clone());
        match room.as_str() {
            "away" => Err(EngineError::Degraded),
            "silent" => std::future::pending().await,
            "forgotten" => Err(EngineError::Rooms(RoomsError::UnknownActivation)),
            _ => Ok(()),
        }
    }
}

fn freed(n: u128, room: &str) -> OutboxEvent {
    let id = ActivationId(uuid::Uuid::from_u128(n));
    let payload = json!({ "activation_id": id, "room_id": room, "reason": "completed" });
    event(n, &format!("activation:{id}"), "slot.freed", payload)
}

fn event(n: u128, aggregate: &str, kind: &str, payload: serde_json::Value) -> OutboxEvent {
    OutboxEvent {
        id: n.to_string(),
        aggregate: aggregate.to_owned(),
        version: 1,
        kind: kind.to_owned(),
        payload: payload.to_string(),
        created_at: UnixMs(1),
        route: None,
        trace: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_cannot_be_told_holds_back_its_own_events_and_no_others() {
    let (rooms, next) = (Arc::new(Rooms::default()), Arc::new(LocalSink::default()));
    let consumer = SlotConsumer::new(Arc::clone(&rooms) as _, Arc::clone(&next) as _);
    let first = freed(1, "away");
    let batch = [
        first.clone(),
        freed(2, "silent"),
        event(3, "reservation:3", "reservation.confirmed", json!({})),
        freed(4, "away"),
        freed(5, "well"),
        event(6, &first.aggregate, "activation.noted", json!({})),
        freed(7, "forgotten"),
        event(8, "activation:8", "slot.freed", json!({ "garbage": true })),
        freed(9, "silent"),
        freed(10, "well"),
    ];
    let delivery = consumer.deliver(&batch).await;
    let taken = || Outcome::Taken { route: None };
    let waits = || Outcome::Waits;
    assert!(matches!(delivery.outcomes[7], Outcome::Refused(_)));
    assert_eq!(
        delivery.outcomes[..7],
        [
            waits(),
            waits(),
            taken(),
            waits(),
            taken(),
            waits(),
            taken()
        ]
    );
    assert_eq!(delivery.outcomes[8..], [waits(), taken()]);
    let went_on: BTreeSet<String> = next
        .read(0, usize::MAX)
        .events
        .into_iter()
        .map(|event| event.id)
        .collect();
    let all = ["3", "5", "7", "10"].map(str::to_owned);
    assert_eq!(went_on, BTreeSet::from(all));
    let asked = rooms.0.lock().unwrap().clone();
    let times = |name: &str| asked.iter().filter(|room| room.as_str() == name).count();
    assert_eq!((times("away"), times("silent"), times("well")), (1, 1, 2));
}
