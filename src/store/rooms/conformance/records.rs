//! Rooms: made once, changed by version, fenced by epoch.

use tokio::join;

use super::{Harness, at_epoch, draw_policy, lanes_named, other_epoch, unknown_room};
use crate::domain::ids::RoomRef;
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::domain::time::UnixMs;
use crate::store::queue::DepartedPage;
use crate::store::rooms::{NewRoom, RoomRecord, RoomsError};

pub async fn a_room_is_kept_as_it_was_made(h: &Harness) {
    let policy = RoomPolicy {
        closes_at: Some(UnixMs(u64::try_from(i64::MAX).expect("positive"))),
        rate_per_s: 12.5,
        lanes: lanes_named(3),
        required_claims: vec!["email_verified".to_owned()],
        ..RoomPolicy::default()
    };
    let new = h.new_room(policy);
    let made = h.registry.create_room(new.clone()).await.expect("creates");
    assert_eq!(
        (&made.id, &made.display_name, &made.policy),
        (&new.id, &new.display_name, &new.policy)
    );
    let second = h.create(RoomPolicy::default()).await;
    assert_eq!(h.registry.room(&new.id).await, Ok(made.clone()));

    let mut expected = vec![made, second];
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    let rooms = h.registry.rooms().await.expect("reads");
    let ours: Vec<RoomRecord> = rooms
        .into_iter()
        .filter(|room| expected.iter().any(|one| one.id == room.id))
        .collect();
    assert_eq!(ours, expected, "all rooms, by id");
}

pub async fn a_room_is_made_once(h: &Harness) {
    let new = h.new_room(RoomPolicy::default());
    let other = NewRoom {
        display_name: "another".to_owned(),
        ..new.clone()
    };
    let (first, second) = join!(
        h.registry.create_room(new.clone()),
        h.registry.create_room(other)
    );
    let made = first.or(second.clone()).expect("one is made");
    let refused = h.registry.create_room(new.clone()).await;
    assert_eq!(refused, Err(RoomsError::RoomExists));
    assert_eq!(h.registry.room(&new.id).await, Ok(made));
}

pub async fn only_a_draw_has_a_secret(h: &Harness) {
    let fifo = h.create(RoomPolicy::default()).await;
    assert_eq!(fifo.draw, None);
    let draw = h.create(draw_policy(1)).await.draw.expect("a draw");
    assert_eq!(draw.secret, [7; 32]);
    assert!(draw.participants.is_empty());
}

pub async fn an_update_needs_the_version_it_read(h: &Harness) {
    let made = h.create(RoomPolicy::default()).await;
    let mut changed = made.clone();
    changed.display_name = "renamed".to_owned();
    changed.policy.capacity = 3;
    changed.switches.paused = true;
    changed.switches.message = "back at noon".to_owned();
    changed.switches.resumes_at = Some(UnixMs(1_700_000_000_000));
    let updated = h
        .registry
        .update_room(changed.clone())
        .await
        .expect("updates");
    assert!(updated.version > made.version);
    changed.version = updated.version;
    assert_eq!(updated, changed);

    let stale = RoomRecord {
        display_name: "lost".to_owned(),
        ..made.clone()
    };
    let refused = h.registry.update_room(stale).await;
    assert_eq!(refused, Err(RoomsError::EtagMismatch));
    assert_eq!(h.registry.room(&made.id).await, Ok(updated));
}

pub async fn of_two_updates_of_one_version_one_wins(h: &Harness) {
    let made = h.create(RoomPolicy::default()).await;
    let with_capacity = |capacity| {
        let mut changed = made.clone();
        changed.policy.capacity = capacity;
        h.registry.update_room(changed)
    };
    let (first, second) = join!(with_capacity(1), with_capacity(2));
    let (won, lost) = if first.is_ok() {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(lost, Err(RoomsError::EtagMismatch));
    assert_eq!(h.registry.room(&made.id).await, won);
}

pub async fn a_secret_once_made_stays(h: &Harness) {
    let made = h.create(draw_policy(1)).await;
    let mut changed = made.clone();
    if let Some(draw) = &mut changed.draw {
        draw.secret = [9; 32];
    }
    let updated = h.registry.update_room(changed).await.expect("updates");
    assert_eq!(updated.draw, made.draw, "its hash may be public");

    let mut fifo = updated;
    fifo.policy.order = ServingOrder::Fifo;
    let fifo = h.registry.update_room(fifo).await.expect("updates");
    assert_eq!(fifo.draw, None);
}

pub async fn a_lane_can_be_added(h: &Harness) {
    let mut room = h.create(RoomPolicy::default()).await;
    h.registry
        .reserve_numbers(&at_epoch(&room), 0, 50)
        .await
        .expect("reserves");
    room.policy.lanes = lanes_named(2);
    let room = at_epoch(&h.registry.update_room(room).await.expect("updates"));
    for (lane, to) in [(0, 50), (1, 1)] {
        let reserved = h.registry.reserve_numbers(&room, lane, 1).await;
        assert_eq!(reserved, Ok(to), "lane {lane}");
    }
}

pub async fn a_missing_room_is_said_to_be_missing(h: &Harness) {
    let room = unknown_room();
    let missing = RoomsError::UnknownRoom;
    assert_eq!(h.registry.room(&room.id).await, Err(missing.clone()));
    let mut record = h.create(RoomPolicy::default()).await;
    record.id = room.id.clone();
    assert_eq!(h.registry.update_room(record).await, Err(missing.clone()));
    assert_all(&refusals(h, &room).await, &missing);
}

pub async fn a_writer_of_another_epoch_changes_nothing(h: &Harness) {
    let room = h.room().await;
    h.registry
        .reserve_numbers(&room, 0, 10)
        .await
        .expect("reserves");
    let recovered = h.registry.raise_epoch(&room, 5).await.expect("raises");
    let now = at_epoch(&recovered.room);
    assert!(now.epoch > room.epoch);
    assert_all(&refusals(h, &room).await, &RoomsError::Fenced);
    assert_all(&refusals(h, &other_epoch(&now)).await, &RoomsError::Fenced);

    let again = h.registry.raise_epoch(&now, 0).await.expect("raises");
    assert_eq!(again.lanes[0].issued_to, 15);
    assert!(again.lanes[0].departed.is_empty());
    assert!(again.live.is_empty() && again.ended.is_empty());
    assert_eq!(again.room.draw, None);
}

/// What each fenced write answers to `room`.
async fn refusals(h: &Harness, room: &RoomRef) -> Vec<Option<RoomsError>> {
    let page = DepartedPage {
        lane: 0,
        page: 0,
        bits: vec![1],
    };
    let activation = vec![super::new_activation(1)];
    let r = &h.registry;
    vec![
        r.raise_epoch(room, 100).await.err(),
        r.reserve_numbers(room, 0, 1_000).await.err(),
        r.return_numbers(room, 0, 1).await.err(),
        r.save_departed(room, vec![page]).await.err(),
        r.fix_draw(room, vec![3]).await.err(),
        r.insert_activations(room, activation, 1, 1_000).await.err(),
    ]
}

fn assert_all(refusals: &[Option<RoomsError>], expected: &RoomsError) {
    for (index, refusal) in refusals.iter().enumerate() {
        assert_eq!(refusal.as_ref(), Some(expected), "write {index}");
    }
}

pub async fn of_two_who_raise_the_epoch_one_wins(h: &Harness) {
    let room = h.room().await;
    for round in 0..20 {
        let before = at_epoch(&h.registry.room(&room.id).await.expect("reads"));
        let (first, second) = join!(
            h.registry.raise_epoch(&before, 10),
            h.registry.raise_epoch(&before, 10)
        );
        let (won, lost) = if first.is_ok() {
            (first, second)
        } else {
            (second, first)
        };
        let won = won.expect("one wins");
        assert_eq!(lost, Err(RoomsError::Fenced));
        assert_eq!(won.room.epoch, before.epoch + 1);
        assert_eq!(won.lanes[0].reserved_to, (round + 1) * 10, "one block");
    }
}
