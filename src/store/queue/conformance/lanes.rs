//! Lines beside each other.

use std::sync::Arc;

use super::*;
use crate::domain::policy::LanePolicy;

fn laned(weights: &[u32]) -> RoomPolicy {
    let lanes = (0..).zip(weights).map(|(index, weight)| LanePolicy {
        name: format!("lane-{index}"),
        weight: *weight,
        has_codes: false,
    });
    RoomPolicy {
        lanes: lanes.collect(),
        ..policy(8)
    }
}

impl Rig {
    async fn join_lane(&self, name: &str, lane: u16) -> Result<PlaceKey, QueueError> {
        let take = Take {
            issue_in: Some(lane),
            ..take(name, None, true)
        };
        let taken = self.store.take(&room(), take).await;
        taken.map(|taken| taken.place.key)
    }
}

pub async fn lanes_have_own_numbers_and_share_slots_by_weight(rig: Rig) {
    let rig = rig.with_room(laned(&[3, 1])).await;
    for index in 1..=8_u64 {
        for lane in 0..2 {
            let place = rig.join_lane(&format!("u{lane}-{index}"), lane).await;
            let number = index;
            assert_eq!(place, Ok(PlaceKey { lane, number }));
        }
    }
    let stays = rig.join_lane("u0-1", 1).await;
    assert_eq!(stays, Ok(place(1)), "a place never changes lane");
    let rows = rig.activate(100).await;
    let served: Vec<u16> = rows.iter().map(|row| row.place.lane).collect();
    let of_first = served.iter().filter(|lane| **lane == 0).count();
    assert_eq!((served.len(), of_first), (8, 6), "{served:?}");
    let snapshot = rig.store.snapshot(&room()).await.expect("a room");
    assert_eq!(snapshot.facts.lane_weights, [3, 1]);
    let tails: Vec<u64> = snapshot.lanes.iter().map(|lane| lane.tail).collect();
    assert_eq!(tails, [8, 8]);
}

pub async fn a_lane_is_appended_and_reserved_for(rig: Rig) {
    let rig = rig.with_room(laned(&[1])).await;
    rig.join("ann").await;
    let switches = RoomSwitches {
        opened: true,
        ..RoomSwitches::default()
    };
    let policy = Arc::new(laned(&[1, 1]));
    let configured = rig.store.configure(&room(), 2, policy, switches).await;
    assert_eq!(configured, Ok(()));
    let refused = rig.join_lane("bob", 1).await;
    let Err(QueueError::NumbersExhausted {
        lane: 1,
        reserve_to,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    let reserved = rig.store.reserve(&room(), 1, reserve_to).await;
    assert_eq!(reserved, Ok(()));
    let place = rig.join_lane("bob", 1).await;
    assert_eq!(place, Ok(PlaceKey { lane: 1, number: 1 }));
    assert_eq!(rig.activate(100).await.len(), 2);
}
