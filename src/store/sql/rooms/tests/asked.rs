//! The request that a room was made for is kept with the room.

use super::open_store;
use crate::domain::ids::{IdempotencyKey, RoomId, UserId};
use crate::domain::policy::RoomPolicy;
use crate::store::rooms::{NewRoom, RoomRegistry, RoomsError};
use crate::store::sales::{Answers, Asked, Once, SalesError};

fn asked(request: &str) -> Asked {
    Asked {
        once: Once {
            user: UserId::parse("root").expect("an id"),
            key: IdempotencyKey::parse("k").expect("a key"),
            trace: None,
        },
        command: "CreateRoom.made",
        request: request.into(),
    }
}

fn new_room(asked: Option<Asked>) -> NewRoom {
    NewRoom {
        id: RoomId::parse("room").expect("an id"),
        display_name: "Evening".to_owned(),
        policy: RoomPolicy::default(),
        draw_secret: [0; 32],
        asked,
    }
}

#[tokio::test]
async fn a_repeat_is_known_whatever_the_room_is_now() {
    let (store, _clock, _dir) = open_store().await;
    assert_eq!(store.first_answer(asked("a room")).await, Ok(None));
    let made = store.create_room(new_room(Some(asked("a room")))).await;
    let mut renamed = made.expect("creates");
    renamed.display_name = "Night".to_owned();
    store.update_room(renamed).await.expect("renames");
    let again = store.create_room(new_room(Some(asked("a room")))).await;
    assert_eq!(again, Err(RoomsError::RoomExists));
    let known = store.first_answer(asked("a room")).await;
    assert_eq!(known, Ok(Some(Vec::new())));
    let other = store.first_answer(asked("another room")).await;
    assert_eq!(other, Err(SalesError::IdempotencyKeyReused));
}

#[tokio::test]
async fn a_room_that_is_not_made_keeps_no_request() {
    let (store, _clock, _dir) = open_store().await;
    store.create_room(new_room(None)).await.expect("creates");
    let second = store.create_room(new_room(Some(asked("a room")))).await;
    assert_eq!(second, Err(RoomsError::RoomExists));
    assert_eq!(store.first_answer(asked("a room")).await, Ok(None));
}
