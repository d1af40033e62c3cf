//! Turns given by operators, and places that they end.

use super::*;
use crate::domain::room::grant::GrantOutcome;

impl Rig {
    async fn grant(&self, name: &str) -> Result<GrantOutcome, QueueError> {
        self.store.grant_place(&room(), &user(name), 0).await
    }
}

fn active(number: u64, name: &str) -> Confirm {
    Confirm {
        place: place(number),
        user: user(name),
        standing: Standing::Active {
            id: ActivationId(Uuid::from_u128(u128::from(number))),
            claimed_at: crate::domain::time::UnixMs(1),
            expire_time: crate::domain::time::UnixMs(u64::MAX),
        },
        remaining_ms: 60_000,
    }
}

pub async fn a_grant_takes_a_slot_out_of_turn(rig: Rig) {
    let mut rig = rig.with_room(policy(2)).await;
    for name in ["ann", "bob", "cid"] {
        rig.join(name).await;
    }
    for _ in 0..2 {
        let granted = rig.grant("cid").await;
        assert_eq!(granted, Ok(GrantOutcome::Granting(place(3))));
    }
    let counts = rig.store.counts(&room()).await.expect("counts");
    assert_eq!((counts.granting, counts.waiting), (1, 3));
    let row = active(3, "cid");
    let left = rig.store.confirm(&room(), vec![row.clone()]).await;
    assert_eq!(left, Ok(Vec::new()));
    let id = row.standing.activation_id().expect("an activation");
    assert_eq!(rig.grant("cid").await, Ok(GrantOutcome::HasTurn(id)));
    let found = rig.store.find(&room(), &user("cid")).await;
    let standing = found.expect("an answer").map(|place| place.standing);
    assert_eq!(standing, Some(row.standing));
    // One slot is left, and the line is served in its order.
    assert_eq!(rig.activate(100).await[0].place, place(1));
    assert_eq!(rig.grant("bob").await, Err(QueueError::NoSlot));
    let deltas = rig.published().await;
    let told = deltas.iter().flat_map(|delta| &delta.activated);
    let told: Vec<_> = told.map(|(place, _)| place.number).collect();
    assert_eq!(told, [3, 1]);
}

pub async fn a_grant_without_a_place_issues_a_number_that_never_waits(rig: Rig) {
    rig.store
        .init(&room(), init(policy(1), 1))
        .await
        .expect("a room");
    rig.join("ann").await;
    rig.store
        .absent(&room(), vec![(place(1), user("ann"))], NODE)
        .await
        .expect("absent");
    let refused = rig.grant("bob").await;
    let Err(QueueError::NumbersExhausted {
        lane: 0,
        reserve_to,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    let reserved = rig.store.reserve(&room(), 0, reserve_to).await;
    assert_eq!(reserved, Ok(()));
    let granted = rig.grant("bob").await;
    assert_eq!(granted, Ok(GrantOutcome::Granting(place(2))));
    assert_eq!(rig.join("bob").await, 2, "one live place per user");
    // Nobody brings the row: a tick hands it out again.
    assert!(rig.tick(900).await.granted.is_empty());
    assert_eq!(rig.tick(200).await.granted[0].place, place(2));
    let confirmed = rig.store.confirm(&room(), vec![active(2, "bob")]).await;
    assert_eq!(confirmed, Ok(Vec::new()));
    let counts = rig.store.counts(&room()).await.expect("counts");
    assert_eq!((counts.active, counts.waiting), (1, 1));
    assert_eq!(rig.join("cid").await, 3);
}

pub async fn a_row_that_is_over_ends_its_place(rig: Rig) {
    let mut rig = rig.with_room(policy(1)).await;
    for name in ["ann", "bob", "cid"] {
        rig.join(name).await;
    }
    // Ann is picked, bob waits: SQL says that both are over.
    assert_eq!(rig.tick(100).await.granted[0].place, place(1));
    let over = |number, name| Confirm {
        standing: Standing::Ended(EndReason::Revoked),
        ..active(number, name)
    };
    for _ in 0..2 {
        let rows = vec![over(1, "ann"), over(2, "bob")];
        let confirmed = rig.store.confirm(&room(), rows).await;
        assert_eq!(confirmed, Ok(Vec::new()));
    }
    let deltas = rig.published().await;
    let mut ended: Vec<_> = deltas.iter().flat_map(|delta| &delta.ended).collect();
    ended.sort_by_key(|ended| ended.place);
    let ended: Vec<_> = ended
        .iter()
        .map(|it| (it.place.number, it.reason))
        .collect();
    assert_eq!(ended, [(1, EndReason::Revoked), (2, EndReason::Revoked)]);
    // A row of ann's that was read before it ended comes late.
    let late = rig.store.confirm(&room(), vec![active(1, "ann")]).await;
    assert_eq!(late, Ok(Vec::new()));
    assert_eq!(rig.store.find(&room(), &user("ann")).await, Ok(None));
    assert_eq!(rig.activate(100).await[0].place, place(3));
    assert_eq!(rig.join("ann").await, 4);
}
