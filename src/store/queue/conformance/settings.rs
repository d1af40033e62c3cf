//! Rows come from several nodes, in any order.

use super::*;

pub async fn an_earlier_row_does_not_overwrite_a_later_one(rig: Rig) {
    let rig = rig.with_room(policy(0)).await;
    rig.join("ann").await;
    assert_eq!(rig.tick(100).await.version, 1);
    let switches = |paused| RoomSwitches {
        opened: true,
        paused,
        ..RoomSwitches::default()
    };
    let configure = async |version, capacity, paused| {
        let policy = Arc::new(policy(capacity));
        let (store, room) = (&rig.store, room());
        let configured = store.configure(&room, version, policy, switches(paused));
        configured.await.expect("configured");
    };
    configure(5, 1, true).await;
    let cursor = rig.tick(100).await.cursor;
    for earlier_or_same in [1, 4, 5] {
        configure(earlier_or_same, 7, false).await;
    }
    let tick = rig.tick(100).await;
    assert_eq!((tick.version, tick.cursor), (5, cursor), "no news");
    let facts = rig.store.snapshot(&room()).await.expect("a room").facts;
    assert!(facts.switches.paused);
    configure(6, 1, false).await;
    let tick = rig.tick(100).await;
    assert_eq!((tick.version, tick.granted.len()), (6, 1));
}
