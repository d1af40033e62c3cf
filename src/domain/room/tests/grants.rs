//! Operators let someone in, or end what someone has.

use super::*;
use crate::domain::room::grant::GrantOutcome;

impl World {
    fn grant(&mut self, user: &str) -> Result<GrantOutcome, Refusal> {
        let user = UserId::parse(user).unwrap();
        self.room.grant_place(&user, 0, self.now)
    }

    /// The row of a granted place, ACTIVE at once.
    fn active_row(&mut self, number: u64, user: &str) -> Confirm {
        self.next_id += 1;
        Confirm {
            place: place(number),
            user: UserId::parse(user).unwrap(),
            standing: Standing::Active {
                id: ActivationId(Uuid::from_u128(self.next_id)),
                claimed_at: self.now,
                expire_time: self.now.plus_ms(60_000),
            },
            remaining_ms: 60_000,
        }
    }

    /// A row that ended: what SQL says of a place that was revoked.
    fn revoked_row(&self, number: u64, user: &str) -> Confirm {
        Confirm {
            place: place(number),
            user: UserId::parse(user).unwrap(),
            standing: Standing::Ended(EndReason::Revoked),
            remaining_ms: 0,
        }
    }

    fn slots(&self) -> u64 {
        let counts = self.room.counts();
        counts.granting + counts.activated + counts.active
    }
}

#[test]
fn a_grant_activates_the_waiting_place_out_of_turn_and_whatever_the_rate() {
    let mut world = World::new(policy(2, 0.001));
    for name in ["ann", "bob", "cid"] {
        world.join(name);
    }
    assert_eq!(world.grant("cid"), Ok(GrantOutcome::Granting(place(3))));
    let again = world.grant("cid");
    assert_eq!(again, Ok(GrantOutcome::Granting(place(3))), "idempotent");
    assert_eq!(world.slots(), 1);
    assert_eq!(world.standing(3), Standing::Waiting, "until SQL says so");
    let row = world.active_row(3, "cid");
    world.room.confirm(std::slice::from_ref(&row), world.now);
    assert_eq!(world.standing(3), row.standing);
    let id = row.standing.activation_id().unwrap();
    assert_eq!(world.grant("cid"), Ok(GrantOutcome::HasTurn(id)));
    // The line goes on where it was, in what is left of the capacity.
    assert_eq!(world.run(2_000), [1]);
    assert_eq!(world.grant("bob"), Err(Refusal::NoSlot));
    assert_eq!(world.standing(2), Standing::Waiting);
}

#[test]
fn a_grant_without_a_place_is_a_fresh_number_that_never_waits() {
    let mut world = World::new(RoomPolicy {
        max_waiting: 1,
        ..policy(1, 0.001)
    });
    world.join("ann");
    world.room.absent(place(1), &user("ann"), NODE);
    assert_eq!(world.grant("bob"), Ok(GrantOutcome::Granting(place(2))));
    assert_eq!(world.join("bob"), 2, "one live place per user");
    let row = world.active_row(2, "bob");
    world.room.confirm(&[row], world.now);
    let delta = world.room.publish().unwrap();
    assert_eq!(delta.lanes[0].departed, [2]);
    assert_eq!(delta.lanes[0].tail, 2);
    assert_eq!(delta.activated[0].0, place(2));
    assert_eq!(world.room.counts().waiting, 1);
    assert_eq!(world.grant("cid"), Err(Refusal::NoSlot));
    let line: Vec<_> = world.room.line().map(|it| it.place.number).collect();
    assert_eq!(line, [1], "no number was used up by a refusal");
}

#[test]
fn a_grant_that_nobody_brings_back_is_handed_out_again() {
    let mut world = World::new(policy(1, 0.001));
    world.grant("bob").unwrap();
    assert!(!world.room.is_quiet());
    assert!(world.run(900).is_empty());
    assert_eq!(world.run(200), [1]);
}

#[test]
fn grants_stop_in_a_closed_room_and_while_it_is_rebuilt() {
    let mut world = World::new(policy(5, 1.0));
    let (policy, mut switches) = (Arc::clone(&world.room.policy), world.room.switches.clone());
    switches.paused = true;
    world
        .room
        .configure(Arc::clone(&policy), switches.clone(), world.now);
    assert_eq!(world.grant("ann"), Ok(GrantOutcome::Granting(place(1))));
    switches.closed = true;
    world.room.configure(policy, switches, world.now);
    assert_eq!(world.grant("bob"), Err(Refusal::Closed));

    let init = RoomInit {
        version: 1,
        policy: Arc::new(super::policy(5, 1.0)),
        switches: RoomSwitches {
            opened: true,
            ..RoomSwitches::default()
        },
        lanes: vec![LaneInit {
            issued_to: 3,
            reserved_to: 9,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 1_000,
    };
    world.room = Room::init(2, init, world.now);
    assert_eq!(world.grant("ann"), Err(Refusal::Rebuilding));
    world.run(1_500);
    assert_eq!(world.grant("ann"), Ok(GrantOutcome::Granting(place(4))));
}

#[test]
fn a_row_that_is_over_ends_its_place_wherever_that_is() {
    let mut world = World::new(policy(1, 1_000.0));
    for name in ["ann", "bob", "cid"] {
        world.join(name);
    }
    // Bob waits; ann is picked, and her row is not brought back yet.
    world.now = world.now.plus_ms(100);
    let granted = world.room.tick(world.now, Some(NODE)).granted;
    assert_eq!(granted[0].place, place(1));
    let rows = [world.revoked_row(1, "ann"), world.revoked_row(2, "bob")];
    for _ in 0..2 {
        world.room.confirm(&rows, world.now);
    }
    let delta = world.room.publish().unwrap();
    let ended: Vec<_> = delta
        .ended
        .iter()
        .map(|it| (it.place.number, it.reason))
        .collect();
    assert_eq!(ended, [(1, EndReason::Revoked), (2, EndReason::Revoked)]);
    assert_eq!(world.slots(), 0, "the picked one's slot is free");
    assert_eq!(world.run(200), [3]);
    // Who wrote ann's row before it ended comes late.
    let late = world.row(&granted[0]);
    world.room.confirm(&[late], world.now);
    assert_eq!(world.standing(1), Standing::Ended(EndReason::Revoked));
    assert_eq!(world.join("ann"), 4, "she may stand in line again");
}
