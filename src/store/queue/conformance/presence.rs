//! Nodes vouch for the places of their streams as long as they tick.

use super::*;

pub async fn streams_of_a_silent_node_are_no_presence(rig: Rig) {
    let rig = rig.with_room(policy(0)).await;
    rig.join("ann").await;
    let silent = Incarnation(8);
    let there = vec![(place(1), user("ann"))];
    let told = rig.store.present(&room(), there.clone(), silent).await;
    assert_eq!(told, Ok(()));
    rig.join("bob").await;
    pass_leases(&rig, async || drop(rig.tick(0).await)).await;
    rig.let_one_in().await;
    let rows = rig.activate(100).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].place, place(2), "the silent node's is passed over");
    let start = Cursor {
        epoch: EPOCH,
        revision: 0,
    };
    rig.tick(100).await;
    let deltas = rig.store.deltas_since(&room(), start).await;
    let deltas = deltas.expect("a room").expect("all are kept");
    let absent: Vec<PlaceKey> = deltas
        .iter()
        .flat_map(|delta| delta.absent.clone())
        .collect();
    assert_eq!(absent, [place(1)], "so that the node may answer");
    let told = rig.store.present(&room(), there, silent).await;
    assert_eq!(told, Ok(()));
    let id = rows[0].standing.activation_id().expect("a turn");
    let freed = rig.store.free(&room(), id, EndReason::Completed).await;
    assert_eq!(freed, Ok(()));
    assert_eq!(rig.tick(100).await.granted[0].place, place(1));
}

/// As much time as a lease lasts, with a call of bob's each second; `tick` runs
/// behind each.
async fn pass_leases(rig: &Rig, tick: impl AsyncFn()) {
    for _ in 0..LEASE_MS / 1_000 {
        rig.clock.advance_ms(1_000);
        let found = rig.store.take(&room(), take("bob", None, false)).await;
        assert!(found.is_ok());
        tick().await;
    }
}

/// As when no node can write rows, and so none ticks.
pub async fn a_lease_does_not_run_out_while_ticks_rest(rig: Rig) {
    let rig = rig.with_room(policy(1)).await;
    rig.join("ann").await;
    let other = Incarnation(8);
    let there = vec![(place(1), user("ann"))];
    assert_eq!(rig.store.present(&room(), there, other).await, Ok(()));
    rig.join("bob").await;
    pass_leases(&rig, async || {}).await;
    // The other node's tick comes a moment later.
    let rows = rig.activate(100).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].place, place(1), "nobody is passed over");
}

/// However many stand before who is there.
pub async fn places_of_a_silent_node_hold_up_nobody(rig: Rig) {
    const GONE: u64 = 300;
    let rig = rig.with_room(policy(0)).await;
    assert_eq!(rig.store.reserve(&room(), 0, GONE + 1).await, Ok(()));
    let mut there = Vec::new();
    for number in 1..=GONE {
        let name = format!("gone-{number}");
        assert_eq!(rig.join(&name).await, number);
        there.push((place(number), user(&name)));
    }
    let silent = Incarnation(8);
    assert_eq!(rig.store.present(&room(), there, silent).await, Ok(()));
    rig.join("bob").await;
    pass_leases(&rig, async || drop(rig.tick(0).await)).await;
    rig.let_one_in().await;
    // Rounds of one tick of a node.
    for _round in 0..8 {
        let tick = rig.tick(0).await;
        if let Some(granted) = tick.granted.first() {
            assert_eq!(granted.place, place(GONE + 1));
            return;
        }
        assert!(tick.has_more, "a round that did nothing is the last");
    }
    panic!("bob's turn did not come");
}

impl Rig {
    async fn let_one_in(&self) {
        let switches = RoomSwitches {
            opened: true,
            ..RoomSwitches::default()
        };
        let policy = Arc::new(policy(1));
        let configured = self.store.configure(&room(), 2, policy, switches).await;
        assert_eq!(configured, Ok(()));
    }
}
