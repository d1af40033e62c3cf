//! Rooms that are over.

use super::*;
use crate::domain::access::LaneCode;
use crate::domain::place::EndReason;
use crate::store::queue::DepartedPage;
use crate::store::rooms::codes::NewCodes;
use crate::store::rooms::retention::{Deletion, Finished};
use crate::store::rooms::{EndCondition, RoomsError};

const RETAIN_MS: u64 = 60_000;

impl Harness {
    async fn close(&self, room: &RoomRef) {
        let mut record = self.registry.room(&room.id).await.expect("reads");
        record.switches.closed = true;
        self.registry.update_room(record).await.expect("closes");
    }

    /// What the registry says of this room among those that finished.
    async fn finished(&self, room: &RoomRef) -> Option<Finished> {
        let finished = self.registry.finished_rooms(RETAIN_MS, 1_000).await;
        let finished = finished.expect("reads");
        finished.into_iter().find(|it| it.room.id == room.id)
    }

    /// A closed room with an ended activation, a page, a code, and its time over.
    async fn finished_room(&self) -> RoomRef {
        let room = self.room().await;
        for row in self.activate_all(&room, &[1, 2, 3], 0).await {
            let always = EndCondition::Always(EndReason::Left);
            self.registry
                .end_activation(row.id, always)
                .await
                .expect("ends");
        }
        let page = DepartedPage::of(place(4));
        let saved = self.registry.save_departed(&room, vec![page]).await;
        saved.expect("saves");
        let record = self.registry.room(&room.id).await.expect("reads");
        let codes = NewCodes {
            codes: vec![LaneCode::parse(0, "open-sesame").expect("a code")],
            salt: [3; 32],
        };
        let added = self.registry.update_room_with_codes(record, codes).await;
        added.expect("adds");
        self.close(&room).await;
        self.clock.advance_ms(RETAIN_MS);
        room
    }
}

pub async fn a_room_is_over_when_nothing_lives_in_it(harness: &Harness) {
    let registry = &harness.registry;
    let room = harness.room().await;
    let row = harness.activate(&room, 1).await;
    harness.clock.advance_ms(RETAIN_MS);
    assert_eq!(harness.finished(&room).await, None, "it is open");
    harness.close(&room).await;
    harness.clock.advance_ms(RETAIN_MS - 1);
    // What else changes does not begin its time anew.
    harness.close(&room).await;
    assert_eq!(harness.finished(&room).await, None, "too soon");
    harness.clock.advance_ms(1);
    assert_eq!(harness.finished(&room).await, None, "someone has a turn");
    let refused = registry.forget(&room, RETAIN_MS).await;
    assert_eq!(refused, Err(RoomsError::UnknownRoom));
    assert!(registry.room(&room.id).await.is_ok());

    let always = EndCondition::Always(EndReason::Completed);
    registry.end_activation(row.id, always).await.expect("ends");
    let finished = Finished {
        room: room.clone(),
        is_forgotten: false,
    };
    assert_eq!(harness.finished(&room).await, Some(finished));
    let fenced = registry.forget(&other_epoch(&room), RETAIN_MS).await;
    assert_eq!(fenced, Err(RoomsError::Fenced));
    assert_eq!(registry.forget(&room, RETAIN_MS).await, Ok(()));
}

pub async fn a_forgotten_room_is_unknown(harness: &Harness) {
    let registry = &harness.registry;
    let room = harness.finished_room().await;
    let record = registry.room(&room.id).await.expect("reads");
    registry.forget(&room, RETAIN_MS).await.expect("forgets");

    let unknown = Err(RoomsError::UnknownRoom);
    assert_eq!(registry.room(&room.id).await.map(drop), unknown);
    assert_eq!(registry.update_room(record).await.map(drop), unknown);
    assert_eq!(registry.raise_epoch(&room, 1).await.map(drop), unknown);
    assert_eq!(registry.forget(&room, RETAIN_MS).await, unknown);
    let pages = vec![DepartedPage::of(place(5))];
    assert_eq!(registry.save_departed(&room, pages).await, unknown);
    let places = vec![new_activation(9)];
    let written = registry.insert_activations(&room, places, 1, 1).await;
    assert_eq!(written.map(drop), unknown);
    let all = registry.rooms().await.expect("reads");
    assert!(all.iter().all(|record| record.id != room.id));
    let found = harness.finished(&room).await;
    assert!(found.is_some_and(|found| found.is_forgotten));
}

pub async fn a_forgotten_rooms_row_goes_last(harness: &Harness) {
    let registry = &harness.registry;
    let room = harness.finished_room().await;
    // Nobody deletes what is not forgotten.
    assert_eq!(
        registry.delete_forgotten(&room.id, 2).await,
        Ok(Deletion::Done)
    );
    assert!(registry.room(&room.id).await.is_ok());
    registry.forget(&room, RETAIN_MS).await.expect("forgets");

    assert_eq!(
        registry.delete_forgotten(&room.id, 2).await,
        Ok(Deletion::More)
    );
    assert!(harness.finished(&room).await.is_some(), "found again");
    assert_eq!(
        registry.delete_forgotten(&room.id, 2).await,
        Ok(Deletion::Done)
    );
    assert_eq!(harness.finished(&room).await, None);
    assert_eq!(
        registry.delete_forgotten(&room.id, 2).await,
        Ok(Deletion::Done)
    );
    let activation = registry.activation_of(&room.id, place(1)).await;
    assert_eq!(activation, Ok(None));
    // Its id is free for a room that knows nothing of it.
    let again = NewRoom {
        id: room.id.clone(),
        ..harness.new_room(RoomPolicy::default())
    };
    let again = registry.create_room(again).await.expect("creates");
    assert_eq!(again.epoch, 0);
    assert!(again.created_at > UnixMs(1_000_000));
}
