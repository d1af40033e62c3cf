//! Lines beside each other: own numbers, shared slots.

use super::*;
use crate::domain::policy::LanePolicy;

fn laned(weights: &[u32]) -> RoomPolicy {
    let lanes = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| LanePolicy {
            name: format!("lane-{index}"),
            weight: *weight,
            has_codes: false,
        });
    RoomPolicy {
        lanes: lanes.collect(),
        ..policy(1_000, 10.0)
    }
}

impl World {
    fn join_lane(&mut self, user: &str, lane: LaneIndex) -> PlaceKey {
        let take = Take {
            user: UserId::parse(user).unwrap(),
            presented: None,
            issue_in: Some(lane),
            presence: Presence::Stream(NODE),
        };
        self.room.take(&take, self.now).unwrap().place.key
    }

    /// The lanes of those activated in a while, in order.
    fn served_lanes(&mut self, span_ms: u64) -> Vec<LaneIndex> {
        (0..span_ms / TICK_MS)
            .flat_map(|_| self.tick(TICK_MS).granted)
            .map(|granted| granted.place.lane)
            .collect()
    }
}

#[test]
fn each_lane_has_numbers_of_its_own_and_a_place_stays_in_its_lane() {
    let mut world = World::new(laned(&[1, 1]));
    let first = world.join_lane("ann", 0);
    let other = world.join_lane("bob", 1);
    assert_eq!((first.number, other.number), (1, 1));
    assert_eq!(world.join_lane("ann", 1), first, "one live place per user");
    assert_eq!(world.join_lane("cid", 1).number, 2);
}

#[test]
fn lanes_are_served_by_weight_while_someone_waits_in_them() {
    let mut world = World::new(laned(&[3, 1]));
    for index in 0..30 {
        world.join_lane(&format!("a{index}"), 0);
        world.join_lane(&format!("b{index}"), 1);
    }
    let served = world.served_lanes(4_000);
    let of_first = served[..40].iter().filter(|lane| **lane == 0).count();
    assert_eq!(of_first, 30, "{served:?}");
    // The first lane is empty now: the other has all of the rate.
    assert_eq!(world.served_lanes(1_000), vec![1; 10]);
}

#[test]
fn a_lane_whose_places_are_away_is_passed_over() {
    let mut world = World::new(laned(&[1, 1]));
    let away = world.join_lane("ann", 0);
    world.room.absent(away, &user("ann"), NODE);
    world.join_lane("bob", 1);
    world.join_lane("cid", 1);
    assert_eq!(world.served_lanes(1_000), [1, 1]);
    world
        .room
        .present(&[(away, UserId::parse("ann").unwrap())], NODE, world.now);
    world.join_lane("dan", 1);
    assert_eq!(
        world.served_lanes(1_000),
        [0, 1],
        "the least served is next"
    );
}

#[test]
fn an_appended_lane_is_as_the_others_are() {
    let mut world = World::new(laned(&[1]));
    world.join_lane("ann", 0);
    let (policy, switches) = (Arc::new(laned(&[1, 2])), world.room.switches.clone());
    world
        .room
        .configure(Arc::clone(&policy), switches.clone(), world.now);
    let take = Take {
        user: UserId::parse("bob").unwrap(),
        presented: None,
        issue_in: Some(1),
        presence: Presence::Stream(NODE),
    };
    let refused = world.room.take(&take, world.now);
    assert!(matches!(
        refused,
        Err(Refusal::NumbersExhausted { lane: 1, .. })
    ));
    let unheard_of = Take {
        user: UserId::parse("cid").unwrap(),
        issue_in: Some(2),
        ..take.clone()
    };
    let refused = world.room.take(&unheard_of, world.now);
    assert_eq!(refused, Err(Refusal::Opening), "in a moment");
    world.room.reserve(1, 16).unwrap();
    assert_eq!(world.join_lane("bob", 1), PlaceKey { lane: 1, number: 1 });
    let snapshot = world.room.snapshot();
    assert_eq!(snapshot.facts.lane_weights, [1, 2]);

    // While a draw is opened, it issues nothing either.
    let mut opening = World::new(laned(&[1]));
    opening.room.freeze();
    opening.room.configure(policy, switches, opening.now);
    opening.room.reserve(1, 16).unwrap();
    let refused = opening.room.take(&take, opening.now);
    assert_eq!(refused, Err(Refusal::Opening));
}
