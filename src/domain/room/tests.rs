//! Behaviours of one room, step by step.

use std::sync::Arc;

use uuid::Uuid;

use super::command::{
    Confirm, LaneInit, LeaveOutcome, Presence, Refusal, RoomInit, Take, Taken, Tick,
};
use super::*;
use crate::domain::ids::Incarnation;

mod grants;
mod lanes;
mod steering;

const NODE: Incarnation = Incarnation(1);

/// A room with its clock, and the engine's part: rows that are always written.
struct World {
    room: Room,
    now: UnixMs,
    next_id: u128,
}

impl World {
    fn new(policy: RoomPolicy) -> Self {
        let lane = LaneInit {
            reserved_to: 1_000_000,
            ..LaneInit::default()
        };
        let init = RoomInit {
            version: 1,
            lanes: vec![lane; policy.lanes.len()],
            policy: Arc::new(policy),
            switches: RoomSwitches {
                opened: true,
                ..RoomSwitches::default()
            },
            live: Vec::new(),
            ended: Vec::new(),
            rebuild_pause_ms: 10_000,
        };
        let now = UnixMs(1_000_000);
        Self {
            room: Room::init(1, init, now),
            now,
            next_id: 0,
        }
    }

    fn take(&mut self, user: &str, presented: Option<u64>, issue: bool) -> Result<Taken, Refusal> {
        let take = Take {
            user: UserId::parse(user).unwrap(),
            presented: presented.map(place),
            issue_in: issue.then_some(0),
            presence: Presence::Stream(NODE),
        };
        self.room.take(&take, self.now)
    }

    fn join(&mut self, user: &str) -> u64 {
        self.take(user, None, true).unwrap().place.key.number
    }

    fn tick(&mut self, step_ms: u64) -> Tick {
        self.now = self.now.plus_ms(step_ms);
        let tick = self.room.tick(self.now, Some(NODE));
        let rows: Vec<Confirm> = tick
            .granted
            .iter()
            .map(|granted| self.row(granted))
            .collect();
        if !rows.is_empty() {
            self.room.confirm(&rows, self.now);
        }
        self.room.publish();
        tick
    }

    fn row(&mut self, granted: &command::Granted) -> Confirm {
        self.next_id += 1;
        Confirm {
            place: granted.place,
            user: granted.user.clone(),
            standing: Standing::Activated {
                id: ActivationId(Uuid::from_u128(self.next_id)),
                claim_by: self.now.plus_ms(30_000),
            },
            remaining_ms: 30_000,
        }
    }

    /// Ticks each 100 ms for a while; answers the numbers picked.
    fn run(&mut self, span_ms: u64) -> Vec<u64> {
        (0..span_ms / TICK_MS)
            .flat_map(|_| self.tick(TICK_MS).granted)
            .map(|granted| granted.place.number)
            .collect()
    }

    fn standing(&self, number: u64) -> Standing {
        self.room
            .standing_of(self.room.spot(place(number)).unwrap())
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

fn policy(capacity: u64, rate_per_s: f64) -> RoomPolicy {
    RoomPolicy {
        capacity,
        rate_per_s,
        ..RoomPolicy::default()
    }
}

#[test]
fn numbers_rise_and_a_user_has_one_place() {
    let mut world = World::new(policy(0, 1.0));
    assert_eq!(world.join("ann"), 1);
    assert_eq!(world.join("bob"), 2);
    assert_eq!(world.join("ann"), 1);
}

#[test]
fn capacity_and_rate_hold_together() {
    let mut world = World::new(policy(5, 10.0));
    for index in 0..20 {
        world.join(&format!("u{index}"));
    }
    assert_eq!(world.run(300), [1, 2, 3, 4]);
    assert_eq!(world.run(1_000), [5]);
    assert_eq!(world.run(2_000), Vec::<u64>::new());
}

#[test]
fn a_freed_slot_is_refilled_by_the_next_tick() {
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.join("bob");
    assert_eq!(world.run(500), [1]);
    let id = world.standing(1).activation_id().unwrap();
    world.room.free(id, EndReason::Completed, world.now);
    world.room.free(id, EndReason::Completed, world.now);
    let tick = world.tick(0);
    assert_eq!(tick.granted.len(), 1);
    assert_eq!(world.standing(1), Standing::Ended(EndReason::Completed));
}

#[test]
fn absent_places_are_passed_over_and_first_on_return() {
    let mut world = World::new(policy(1, 100.0));
    for user in ["ann", "bob", "cid"] {
        world.join(user);
    }
    world.room.absent(place(1), &user("ann"), NODE);
    assert_eq!(world.run(100), [2]);
    world.take("ann", Some(1), false).unwrap();
    let id = world.standing(2).activation_id().unwrap();
    world.room.free(id, EndReason::Completed, world.now);
    assert_eq!(world.run(100), [1]);
}

#[test]
fn an_absence_of_another_owner_is_ignored() {
    let mut world = World::new(policy(0, 1.0));
    world.join("ann");
    world.room.absent(place(1), &user("ann"), Incarnation(2));
    assert_eq!(world.room.counts().absent, 0);
}

#[test]
fn absence_lapses_after_its_grace_and_not_before() {
    let mut world = World::new(policy(0, 1.0));
    world.join("ann");
    world.tick(1_000);
    world.room.absent(place(1), &user("ann"), NODE);
    world.run(119_900);
    assert_eq!(world.standing(1), Standing::Waiting);
    world.run(200);
    assert_eq!(world.standing(1), Standing::Ended(EndReason::Absent));
    let new = world.take("ann", Some(1), true).unwrap();
    assert_eq!(new.place.key.number, 2);
    assert!(new.needs_token);
}

#[test]
fn a_pick_nobody_confirms_is_handed_out_again() {
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.now = world.now.plus_ms(100);
    assert_eq!(world.room.tick(world.now, Some(NODE)).granted.len(), 1);
    world.now = world.now.plus_ms(500);
    assert_eq!(world.room.tick(world.now, Some(NODE)).granted.len(), 0);
    world.now = world.now.plus_ms(500);
    assert_eq!(world.room.tick(world.now, Some(NODE)).granted.len(), 1);
    assert_eq!(world.standing(1), Standing::Waiting);
}

#[test]
fn leaving_while_the_row_is_written_ends_the_row() {
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.now = world.now.plus_ms(100);
    let granted = world.room.tick(world.now, Some(NODE)).granted;
    assert_eq!(
        world.room.leave(place(1), &user("ann"), world.now),
        Ok(LeaveOutcome::Marked)
    );
    let row = world.row(&granted[0]);
    let left = world.room.confirm(std::slice::from_ref(&row), world.now);
    assert_eq!(left, [row.standing.activation_id().unwrap()]);
    assert_eq!(
        world.room.counts().activated,
        1,
        "the slot waits for its row"
    );
    let delta = world.room.publish().unwrap();
    assert!(delta.activated.is_empty());
    assert_eq!(delta.ended[0].reason, EndReason::Left);
    world.room.free(left[0], EndReason::Left, world.now);
    assert_eq!(world.room.counts().activated, 0);
}

#[test]
fn a_place_left_while_its_row_is_written_does_not_hide_the_next_one() {
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.now = world.now.plus_ms(100);
    let granted = world.room.tick(world.now, Some(NODE)).granted;
    world.room.leave(place(1), &user("ann"), world.now).unwrap();
    assert_eq!(world.join("ann"), 2);
    let row = world.row(&granted[0]);
    world.room.confirm(&[row], world.now);
    assert_eq!(world.join("ann"), 2);
}

#[test]
fn recovery_keeps_unknown_numbers_waiting_until_their_grace_ends() {
    let mut world = World::new(policy(10, 100.0));
    for index in 0..4 {
        world.join(&format!("u{index}"));
    }
    world.room.leave(place(2), &user("u1"), world.now).unwrap();
    world.room.publish();
    let (_, pages) = world.room.departed_pages(0);
    let init = RoomInit {
        version: 1,
        lanes: vec![LaneInit {
            issued_to: 6,
            reserved_to: 20,
            departed: pages,
            ..LaneInit::default()
        }],
        policy: Arc::clone(&world.room.policy),
        switches: world.room.switches.clone(),
        live: Vec::new(),
        ended: vec![place(3)],
        rebuild_pause_ms: 10_000,
    };
    world.room = Room::init(2, init, world.now);
    assert_eq!(world.room.counts().waiting, 4, "1, 4, 5 and 6");
    assert_eq!(world.join("new"), 7);
    let back = world.take("u0", Some(1), false).unwrap();
    assert_eq!(back.place.key.number, 1);
    let gone = world.take("u2", Some(3), false).unwrap();
    assert!(!gone.place.standing.is_live(), "its activation is over");
    let left = world.take("u1", Some(2), false).unwrap();
    assert!(!left.place.standing.is_live(), "it had left");
    assert_eq!(world.run(9_900), Vec::<u64>::new(), "the rebuild pause");
    assert_eq!(world.run(200), [1, 7]);
    world.run(119_000);
    assert_eq!(world.standing(4), Standing::Waiting);
    world.run(2_000);
    assert_eq!(world.standing(4), Standing::Ended(EndReason::Absent));
}

#[test]
fn a_restored_place_and_a_live_one_merge_to_the_lower() {
    let mut world = World::new(policy(0, 1.0));
    let init = RoomInit {
        version: 1,
        lanes: vec![LaneInit {
            issued_to: 5,
            reserved_to: 20,
            ..LaneInit::default()
        }],
        policy: Arc::clone(&world.room.policy),
        switches: world.room.switches.clone(),
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    world.room = Room::init(2, init, world.now);
    assert_eq!(world.join("ann"), 6);
    assert_eq!(
        world.take("ann", Some(3), false).unwrap().place.key.number,
        3
    );
    let merged = world.take("ann", Some(6), false).unwrap();
    assert_eq!(merged.place.key.number, 3);
    assert!(merged.needs_token);
    assert_eq!(world.join("ann"), 3);
}

#[test]
fn closing_ends_the_line_and_spares_those_being_granted() {
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.join("bob");
    world.now = world.now.plus_ms(100);
    let granted = world.room.tick(world.now, Some(NODE)).granted;
    let switches = RoomSwitches {
        opened: true,
        closed: true,
        ..RoomSwitches::default()
    };
    let policy = Arc::clone(&world.room.policy);
    world.room.configure(policy, switches, world.now);
    assert_eq!(world.room.facts().granting, [place(1)]);
    assert_eq!(world.standing(2), Standing::Ended(EndReason::RoomClosed));
    let row = world.row(&granted[0]);
    world.room.confirm(&[row], world.now);
    assert!(matches!(world.standing(1), Standing::Activated { .. }));
    assert_eq!(world.take("eve", None, true).unwrap_err(), Refusal::Closed);
}

#[test]
fn every_change_is_in_exactly_one_delta() {
    let mut world = World::new(policy(2, 50.0));
    for index in 0..10 {
        world.join(&format!("u{index}"));
    }
    world.run(1_000);
    world.room.leave(place(9), &user("u8"), world.now).unwrap();
    world.run(200);
    let deltas = world
        .room
        .deltas_since(Cursor {
            epoch: 1,
            revision: 0,
        })
        .unwrap();
    let mut departed: Vec<u64> = deltas
        .iter()
        .flat_map(|delta| delta.lanes[0].departed.clone())
        .collect();
    departed.sort_unstable();
    assert_eq!(departed, [1, 2, 9]);
    let revisions: Vec<u64> = deltas.iter().map(|delta| delta.cursor.revision).collect();
    assert_eq!(revisions, (1..=revisions.len() as u64).collect::<Vec<_>>());
}

#[test]
fn joins_between_ticks_do_not_slow_the_rate() {
    let mut world = World::new(policy(10_000, 10.0));
    let mut picked = 0;
    for index in 0..5_000 {
        world.now = world.now.plus_ms(1);
        world.join(&format!("u{index}"));
        if index % 100 == 99 {
            picked += world.tick(0).granted.len();
        }
    }
    assert!(
        (49..=52).contains(&picked),
        "{picked} in 5 s at 10 per second"
    );
}

#[test]
fn opening_does_not_end_a_rebuild() {
    let mut world = World::new(policy(10, 100.0));
    let init = RoomInit {
        version: 1,
        lanes: vec![LaneInit {
            issued_to: 3,
            reserved_to: 20,
            ..LaneInit::default()
        }],
        policy: Arc::clone(&world.room.policy),
        switches: RoomSwitches::default(),
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 10_000,
    };
    world.room = Room::init(2, init, world.now);
    world.join("new");
    world.room.open(&[command::LaneOpening::Fifo], world.now);
    assert_eq!(world.run(9_900), Vec::<u64>::new());
    assert_eq!(world.run(200), [4]);
}

#[test]
fn in_every_window_activations_stay_below_the_rate() {
    let rate = 15.0;
    let mut world = World::new(policy(10_000, rate));
    for index in 0..2_000 {
        world.join(&format!("u{index}"));
    }
    let mut at = Vec::new();
    for step in [100, 37, 251, 1_000, 3, 100, 100, 640]
        .iter()
        .cycle()
        .take(400)
    {
        let picked = world.tick(*step).granted.len();
        at.extend(std::iter::repeat_n(world.now.0, picked));
    }
    for (i, start) in at.iter().enumerate() {
        for (count, end) in at[i..].iter().enumerate() {
            let window_s = (end - start + TICK_MS) as f64 / 1_000.0;
            assert!((count + 1) as f64 <= rate * window_s + 1.0 + 1e-9);
        }
    }
}

#[test]
fn places_of_a_silent_node_are_passed_over_until_it_is_heard_again() {
    let silent = Incarnation(2);
    let mut world = World::new(policy(1, 10.0));
    world.join("ann");
    world.join("bob");
    world
        .room
        .present(&[(place(1), user("ann"))], silent, world.now);
    world.room.configure(
        Arc::new(policy(0, 10.0)),
        world.room.switches.clone(),
        world.now,
    );
    assert_eq!(world.run(leases::LEASE_MS - TICK_MS), Vec::<u64>::new());
    assert_eq!(world.room.counts().absent, 0);
    world.room.configure(
        Arc::new(policy(1, 10.0)),
        world.room.switches.clone(),
        world.now,
    );
    assert_eq!(world.run(TICK_MS), [2]);
    let absent: Vec<PlaceKey> = world.room.log.back().unwrap().absent.clone();
    assert_eq!(absent, [place(1)], "its node may answer");
    world
        .room
        .present(&[(place(1), user("ann"))], silent, world.now);
    let id = world.standing(2).activation_id().unwrap();
    world.room.free(id, EndReason::Completed, world.now);
    assert_eq!(world.run(TICK_MS), [1]);
}

#[test]
fn a_node_that_ticks_keeps_its_places() {
    let mut world = World::new(policy(0, 10.0));
    world.join("ann");
    world.run(60_000);
    assert_eq!(world.room.counts().absent, 0);
    for _ in 0..leases::LEASE_MS / TICK_MS {
        world.now = world.now.plus_ms(TICK_MS);
        world.room.tick(world.now, None);
    }
    assert_eq!(world.room.counts().absent, 1);
}

#[test]
fn a_call_counts_once_the_stream_of_a_silent_node_does_not() {
    let mut world = World::new(policy(1, 10.0));
    world.take("ann", None, true).unwrap();
    world.room.configure(
        Arc::new(policy(0, 10.0)),
        world.room.switches.clone(),
        world.now,
    );
    for _ in 0..leases::LEASE_MS / 1_000 {
        world.now = world.now.plus_ms(1_000);
        let call = Take {
            user: user("ann"),
            presented: Some(place(1)),
            issue_in: None,
            presence: Presence::Call { for_ms: 15_000 },
        };
        world.room.take(&call, world.now).unwrap();
    }
    world.room.configure(
        Arc::new(policy(1, 10.0)),
        world.room.switches.clone(),
        world.now,
    );
    world.now = world.now.plus_ms(TICK_MS);
    assert_eq!(world.room.tick(world.now, None).granted.len(), 1);
}
