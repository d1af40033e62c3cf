//! An activation that ends says so in the outbox, once.

use futures_util::future::join_all;
use uuid::Uuid;

use super::open_store;
use crate::bus::OutboxEvent;
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::domain::policy::RoomPolicy;
use crate::store::outbox::{OUTBOX_PARTITIONS, Outbox};
use crate::store::rooms::{EndCondition, NewActivation, NewRoom, RoomRegistry};
use crate::store::sql::SqlStore;

async fn activate(store: &SqlStore, number: u64) -> ActivationId {
    let room = RoomRef {
        id: RoomId::parse("room").expect("an id"),
        epoch: 0,
    };
    let place = NewActivation {
        id: ActivationId(Uuid::new_v4()),
        place: PlaceKey { lane: 0, number },
        user: UserId::parse("alice").expect("an id"),
    };
    let id = place.id;
    store
        .insert_activations(&room, vec![place], 1_000, 1_000)
        .await
        .expect("inserts");
    id
}

async fn events(store: &SqlStore) -> Vec<OutboxEvent> {
    let mut all = Vec::new();
    for partition in 0..OUTBOX_PARTITIONS {
        let batch = store.claim_batch(partition, 1, 1_000, 100).await;
        all.extend(batch.expect("claims"));
    }
    all
}

#[tokio::test]
async fn an_end_leaves_one_event_however_often_it_is_asked_for() {
    let (store, clock, _dir) = open_store().await;
    let room = NewRoom {
        id: RoomId::parse("room").expect("an id"),
        display_name: String::new(),
        policy: RoomPolicy::default(),
        draw_secret: [0; 32],
        asked: None,
    };
    store.create_room(room).await.expect("creates");
    let left = activate(&store, 1).await;
    let late = activate(&store, 2).await;
    assert!(events(&store).await.is_empty());
    let condition = EndCondition::Always(EndReason::Left);
    let racing = (0..10).map(|_| store.end_activation(left, condition));
    join_all(racing).await;
    store
        .end_activation(late, EndCondition::IfExpired)
        .await
        .expect("not yet");
    clock.advance_ms(1_000);
    for _ in 0..2 {
        store.claim_activation(late, 1_000).await.expect("too late");
    }

    let mut events = events(&store).await;
    events.sort_by_key(|event| event.id.clone());
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!((event.kind.as_str(), event.version), ("slot.freed", 1));
            (event.aggregate.clone(), event.payload.clone())
        })
        .collect();
    let expected = [(left, "left"), (late, "unclaimed")].map(|(id, reason)| {
        let payload = serde_json::json!({
            "activation_id": id, "room_id": "room", "reason": reason,
        });
        (format!("activation:{id}"), payload.to_string())
    });
    assert_eq!(found, expected);
}
