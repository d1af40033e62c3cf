//! A node dies after it changed a room's row and before it told the queue.

use super::*;
use crate::domain::delta::RoomFacts;

/// Two nodes; the first fails wherever it would tell the queue of a row.
async fn nodes(shared: &Shared) -> (Node, Arc<Failpoints>, Node) {
    let points = Arc::new(Failpoints::default());
    let dies = shared.node_with(1, Arc::clone(&points)).await;
    (dies, points, shared.node(2).await)
}

/// What the queue goes by, once the other node had its ticks.
async fn known_after_a_tick(node: &Node) -> RoomFacts {
    node.engine.reread_all().await.unwrap();
    let room = node.room();
    node.engine.tick_room(&room).await.unwrap();
    let queue = &node.engine.queue;
    queue.snapshot(&room.room_ref()).await.unwrap().facts
}

#[tokio::test]
async fn a_pause_and_a_new_policy_that_the_queue_was_not_told_are_told_by_another_node() {
    let shared = Shared::new().await;
    let (dies, points, other) = nodes(&shared).await;
    dies.make_room().await;
    dies.join("ann").await.unwrap();
    points.arm(Point::RowChanged, Action::Error, 0);
    let died = dies.engine.pause_room(&room_id(), None, None).await;
    assert_eq!(died.unwrap_err(), EngineError::Degraded);
    let facts = known_after_a_tick(&other).await;
    assert!(facts.switches.paused);

    points.arm(Point::RowChanged, Action::Error, 0);
    let mut changed = dies.room().record().as_ref().clone();
    changed.policy.lanes[0].weight = 9;
    let died = dies.engine.update_room(changed, Vec::new()).await;
    assert_eq!(died.unwrap_err(), EngineError::Degraded);
    let facts = known_after_a_tick(&other).await;
    assert_eq!(facts.lane_weights, [9]);
    // Once told there is nothing to tell.
    let room = other.room();
    let before = other.engine.queue.snapshot(&room.room_ref()).await.unwrap();
    other.engine.tick_room(&room).await.unwrap();
    let after = other.engine.queue.snapshot(&room.room_ref()).await.unwrap();
    assert_eq!(before.cursor, after.cursor);
}

#[tokio::test]
async fn a_room_that_was_opened_in_its_row_alone_is_opened_by_another_node() {
    let shared = Shared::new().await;
    let (dies, points, other) = nodes(&shared).await;
    points.arm(Point::RowChanged, Action::Error, 0);
    let policy = RoomPolicy {
        capacity: 1,
        ..RoomPolicy::default()
    };
    let made = dies
        .engine
        .create_room(room_id(), "Room".to_owned(), policy, Vec::new(), None);
    assert_eq!(made.await.unwrap_err(), EngineError::Degraded);
    let facts = known_after_a_tick(&other).await;
    assert!(facts.switches.opened);
    other.join("ann").await.unwrap();
}
