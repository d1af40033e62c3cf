//! Access codes.

use super::*;
use crate::domain::access::{LaneCode, ShownCode};
use crate::domain::ids::LaneIndex;
use crate::store::rooms::RoomsError;
use crate::store::rooms::codes::NewCodes;

fn codes(given: &[(LaneIndex, &str)]) -> NewCodes {
    let parse = |(lane, text): &(LaneIndex, &str)| LaneCode::parse(*lane, text).expect("a code");
    NewCodes {
        codes: given.iter().map(parse).collect(),
        salt: [3; 32],
    }
}

fn two_lanes() -> RoomPolicy {
    RoomPolicy {
        lanes: lanes_named(2),
        ..RoomPolicy::default()
    }
}

impl Harness {
    async fn create_with(&self, given: &[(LaneIndex, &str)]) -> RoomRecord {
        let room = self.new_room(two_lanes());
        let made = self.registry.create_room_with_codes(room, codes(given));
        made.await.expect("creates")
    }

    async fn redeem(&self, room: &RoomId, code: &str, number: u64) -> Option<LaneIndex> {
        let code = ShownCode::new(code.to_owned());
        let user = user(number);
        let redeemed = self.registry.redeem_code(room, &code, &user).await;
        redeemed.expect("an answer")
    }
}

pub async fn a_code_is_one_users_once_it_is_redeemed(harness: &Harness) {
    let room = harness.create_with(&[(0, "alpha"), (1, "beta")]).await;
    assert_eq!(harness.redeem(&room.id, "beta", 1).await, Some(1));
    assert_eq!(harness.redeem(&room.id, "beta", 2).await, None);
    assert_eq!(harness.redeem(&room.id, "beta", 1).await, Some(1), "again");
    assert_eq!(harness.redeem(&room.id, "alpha", 2).await, Some(0));
    for wrong in ["", "Beta", "beta ", "gamma"] {
        assert_eq!(harness.redeem(&room.id, wrong, 3).await, None, "{wrong}");
    }
    let other = harness.create_with(&[(0, "gamma")]).await;
    assert_eq!(harness.redeem(&other.id, "alpha", 2).await, None);
    let none = harness.create(two_lanes()).await;
    assert_eq!(harness.redeem(&none.id, "alpha", 2).await, None);
}

pub async fn of_racing_users_one_redeems_a_code(harness: &Harness) {
    const RACERS: u64 = 16;
    let room = harness.create_with(&[(1, "only-one")]).await;
    let races = (1..=RACERS).map(|number| harness.redeem(&room.id, "only-one", number));
    let won = futures_util::future::join_all(races).await;
    assert_eq!(won.iter().flatten().count(), 1, "{won:?}");
    let mut again = Vec::new();
    for number in 1..=RACERS {
        again.push(harness.redeem(&room.id, "only-one", number).await);
    }
    assert_eq!(again, won, "the winner stays");
}

pub async fn codes_are_added_and_those_given_stay(harness: &Harness) {
    let room = harness.create_with(&[(0, "alpha")]).await;
    assert_eq!(harness.redeem(&room.id, "alpha", 1).await, Some(0));
    let more = codes(&[(0, "alpha"), (1, "beta"), (1, "beta")]);
    let update = harness.registry.update_room_with_codes(room.clone(), more);
    let room = update.await.expect("updates");
    assert_eq!(harness.redeem(&room.id, "alpha", 2).await, None);
    assert_eq!(harness.redeem(&room.id, "beta", 2).await, Some(1));

    // One of another lane spoils the whole update.
    let moved = codes(&[(0, "gamma"), (0, "beta")]);
    let refused = harness.registry.update_room_with_codes(room.clone(), moved);
    assert_eq!(refused.await, Err(RoomsError::CodeOfAnotherLane));
    assert_eq!(harness.redeem(&room.id, "gamma", 3).await, None);
    let now = harness.registry.room(&room.id).await.expect("a room");
    assert_eq!(now.version, room.version, "nothing was changed");
}
