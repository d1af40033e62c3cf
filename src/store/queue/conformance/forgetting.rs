//! What is left of a room that is over: nothing.

use super::*;

pub async fn a_forgotten_room_leaves_nothing(rig: Rig) {
    let mut rig = rig.with_room(policy(1)).await;
    for name in ["a", "b", "c", "d"] {
        rig.join(name).await;
    }
    rig.activate(100).await;
    let left = rig.store.leave(&room(), place(3), &user("c")).await;
    left.expect("left");
    rig.tick(100).await;
    rig.published().await;
    let older = RoomRef {
        epoch: EPOCH - 1,
        ..room()
    };
    assert_eq!(rig.store.forget(&older).await, Err(QueueError::Recover));
    assert_eq!(rig.store.counts(&room()).await.expect("kept").waiting, 2);

    for _ in 0..2 {
        assert_eq!(rig.store.forget(&room()).await, Ok(()));
        let gone = rig.store.counts(&room()).await;
        assert_eq!(gone.map(|_| ()), Err(QueueError::Recover));
    }
    // Its id is free.
    let rig = rig.with_room(policy(1)).await;
    assert_eq!(rig.join("a").await, 1);
    let newer = RoomRef {
        epoch: EPOCH + 1,
        ..room()
    };
    assert_eq!(rig.store.forget(&newer).await, Ok(()));
    let gone = rig.store.find(&room(), &user("a")).await;
    assert_eq!(gone.map(|_| ()), Err(QueueError::Recover));
}
