//! What a new epoch keeps.

use super::*;

pub async fn departed_pages_rebuild_the_line(rig: Rig) {
    let rig = rig.with_room(policy(0)).await;
    for name in ["a", "b", "c"] {
        rig.join(name).await;
    }
    let left = rig.store.leave(&room(), place(2), &user("b")).await;
    left.expect("left");
    rig.tick(100).await;
    let (_, pages) = rig
        .store
        .departed_pages(&room(), 0)
        .await
        .expect("the pages");
    let next = RoomRef {
        epoch: EPOCH + 1,
        ..room()
    };
    let mut rebuilt = init(policy(0), 50);
    rebuilt.lanes[0].issued_to = 3;
    rebuilt.lanes[0].departed = pages;
    rig.store.init(&next, rebuilt).await.expect("a room");
    let counts = rig.store.counts(&next).await.expect("counts");
    assert_eq!((counts.waiting, counts.absent), (2, 2));
    let back = rig.store.take(&next, take("c", Some(3), false)).await;
    assert_eq!(back.expect("a place").place.standing, Standing::Waiting);
    let gone = rig.store.take(&next, take("b", Some(2), false)).await;
    assert!(!gone.expect("an answer").place.standing.is_live());
    let new = rig.store.take(&next, take("new", None, true)).await;
    assert_eq!(new.expect("a place").place.key, place(4));
}

pub async fn turns_survive_a_new_epoch(rig: Rig) {
    let rig = rig.with_room(policy(2)).await;
    for name in ["a", "b", "c"] {
        rig.join(name).await;
    }
    let live = rig.activate(100).await;
    let next = RoomRef {
        epoch: EPOCH + 1,
        ..room()
    };
    let mut rebuilt = init(policy(2), 50);
    rebuilt.lanes[0].issued_to = 3;
    rebuilt.live = live.clone();
    for built in [Built::Made, Built::Kept] {
        let init = rig.store.init(&next, rebuilt.clone());
        assert_eq!(init.await, Ok(built));
    }
    let snapshot = rig.store.snapshot(&next).await.expect("a room");
    let mut turns = snapshot.live.clone();
    turns.sort_by_key(|(place, _)| *place);
    let expected: Vec<_> = live.iter().map(|row| (row.place, row.standing)).collect();
    assert_eq!(turns, expected);
    assert_eq!(snapshot.facts.slots_in_use, 2);
    let departed = &snapshot.lanes[0].departed_numbers;
    assert!(departed.contains(1) && departed.contains(2) && !departed.contains(3));
    let again = rig.store.confirm(&next, live.clone()).await;
    assert_eq!(again, Ok(Vec::new()), "known");
    let counts = rig.store.counts(&next).await.expect("counts");
    assert_eq!((counts.activated, counts.waiting, counts.absent), (2, 1, 1));
    let back = rig.store.take(&next, take("c", Some(3), false)).await;
    assert_eq!(back.expect("a place").place.standing, Standing::Waiting);
}
