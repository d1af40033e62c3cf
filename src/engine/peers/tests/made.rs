//! A room that others hear of while it is made: its row has its first epoch,
//! and the queue does not have it yet.

use super::*;
use crate::store::rooms::{NewRoom, RoomRegistry as _};

async fn others_leave_it_to_its_maker(hears: impl AsyncFn(&Node)) {
    let shared = Shared::new().await;
    let points = Arc::new(Failpoints::default());
    let one = shared.node_with(1, Arc::clone(&points)).await;
    let other = shared.node(2).await;
    points.arm(Point::EpochRaised, Action::Pause, 0);
    let meanwhile = async {
        points.paused(Point::EpochRaised).await;
        let goes_on = async {
            let knows = async {
                while other.engine.rooms().get(&room_id()).is_err() {
                    tokio::task::yield_now().await;
                }
            };
            let patience = Duration::from_secs(20);
            tokio::time::timeout(patience, knows).await.unwrap();
            let (room, short) = (other.room(), Duration::from_millis(100));
            let ticked = tokio::time::timeout(short, other.engine.tick_room(&room)).await;
            assert!(ticked.is_err(), "it waits: {ticked:?}");
            points.resume(Point::EpochRaised);
        };
        tokio::join!(hears(&other), goes_on);
    };
    tokio::join!(one.make_room(), meanwhile);
    let first = one.joins("first").await;
    assert_eq!(other.joins("first").await, first);
    for node in [&one, &other] {
        assert_eq!(node.room().record().epoch, 1);
    }
}

#[tokio::test]
async fn a_node_that_reads_of_a_new_room_leaves_it_to_its_maker() {
    others_leave_it_to_its_maker(async |node| {
        node.engine.reread_all().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_make_it_too_leaves_it_to_its_maker() {
    others_leave_it_to_its_maker(async |node| {
        let made = node.engine.create_room(
            room_id(),
            "Room".to_owned(),
            RoomPolicy::default(),
            Vec::new(),
            None,
        );
        let exists = made.await.unwrap_err();
        assert_eq!(exists, EngineError::Rooms(RoomsError::RoomExists));
    })
    .await;
}

#[tokio::test]
async fn a_room_that_another_node_builds_first_is_followed_by_its_maker() {
    let shared = Shared::new().await;
    let (one, other) = (shared.node(1).await, shared.node(2).await);
    let new = NewRoom {
        id: room_id(),
        display_name: "Room".to_owned(),
        policy: RoomPolicy::default(),
        draw_secret: [0; 32],
        asked: None,
    };
    let made = shared.sql.create_room(new).await.unwrap();
    other.engine.reread_all().await.unwrap();
    let room = one.engine.serve_new(made).await.unwrap();
    assert_eq!(room.record().epoch, 1, "built by the other");
    let followed = one.readers.0.lock().unwrap().clone();
    assert_eq!(followed, [room.room_ref()]);
}
