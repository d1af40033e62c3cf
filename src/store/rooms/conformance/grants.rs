//! Granted and revoked places.

use super::*;
use crate::domain::ids::IdempotencyKey;
use crate::domain::place::EndReason;
use crate::store::rooms::grants::OperatorTurn;
use crate::store::rooms::{ActivationState, Claimed, EndCondition, RoomsError};
use crate::store::sales::{Asked, Once};

const TTL_MS: u64 = 90_000;

fn turn(number: u64, key: &str) -> OperatorTurn {
    OperatorTurn {
        id: ActivationId(Uuid::new_v4()),
        place: place(number),
        user: user(number),
        reason: "because".to_owned(),
        asked: Asked {
            once: Once {
                user: UserId::parse("operator").expect("an id"),
                key: IdempotencyKey::parse(&format!("{key}-{number}")).expect("a key"),
                trace: None,
            },
            command: "Turn.done",
            request: key.into(),
        },
    }
}

impl Harness {
    async fn grant(&self, room: &RoomRef, turn: OperatorTurn) -> ActivationRow {
        let granted = self.registry.grant_activation(room, turn, TTL_MS).await;
        granted.expect("granted")
    }

    async fn revoke(&self, room: &RoomRef, turn: OperatorTurn) -> ActivationRow {
        let revoked = self.registry.revoke_place(room, turn).await;
        revoked.expect("revoked")
    }
}

/// A key of its own for each of these promises: they may share a database.
fn fresh(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

pub async fn a_granted_place_is_active_for_its_own_time(harness: &Harness) {
    let room = harness.room().await;
    let key = &fresh("grant");
    let first = turn(7, key);
    let row = harness.grant(&room, first.clone()).await;
    assert_eq!((row.id, row.state), (first.id, ActivationState::Active));
    let now = harness.now();
    assert_eq!(row.claimed_at, Some(now));
    assert_eq!(row.expire_time, Some(now.plus_ms(TTL_MS)));
    assert_eq!((row.claim_by, row.user), (None, user(7)));

    // The same request again is the same row; another one under its key is not.
    harness.clock.advance_ms(1_000);
    let again = harness.grant(&room, turn(7, key)).await;
    assert_eq!((again.id, again.expire_time), (row.id, row.expire_time));
    let other = OperatorTurn {
        asked: Asked {
            request: b"another".to_vec(),
            ..first.asked.clone()
        },
        ..turn(8, key)
    };
    let refused = harness
        .registry
        .grant_activation(&room, other, TTL_MS)
        .await;
    assert_eq!(refused, Err(RoomsError::KeyReused));
    let found = harness.registry.activation_of(&room.id, place(8)).await;
    assert_eq!(found, Ok(None));
}

pub async fn a_grant_claims_what_is_unclaimed_and_moves_no_pass(harness: &Harness) {
    let room = harness.room().await;
    let activated = harness.activate(&room, 1).await;
    harness.clock.advance_ms(1_000);
    let granted = harness.grant(&room, turn(1, &fresh("a"))).await;
    assert_eq!(granted.id, activated.id);
    assert_eq!(granted.state, ActivationState::Active);
    let until = harness.now().plus_ms(TTL_MS);
    assert_eq!(granted.expire_time, Some(until));
    harness.clock.advance_ms(1_000);
    let again = harness.grant(&room, turn(1, &fresh("b"))).await;
    assert_eq!(again.expire_time, Some(until), "a pass keeps its end");

    // One whose window is over is over, and the request is not kept.
    harness.activate(&room, 2).await;
    harness.clock.advance_ms(CLAIM_WINDOW_MS);
    let key = fresh("c");
    for _ in 0..2 {
        let late = harness.grant(&room, turn(2, &key)).await;
        assert_eq!(late.state, ActivationState::Ended(EndReason::Unclaimed));
    }
    let elsewhere = harness.grant(
        &room,
        OperatorTurn {
            place: place(3),
            ..turn(2, &key)
        },
    );
    assert_eq!(elsewhere.await.state, ActivationState::Active);
}

pub async fn a_revoked_place_never_gets_a_turn(harness: &Harness) {
    let room = harness.room().await;
    let revoked = ActivationState::Ended(EndReason::Revoked);
    // It waited: the row that is written for it is over.
    let key = fresh("r");
    let waited = harness.revoke(&room, turn(1, &key)).await;
    assert_eq!(waited.state, revoked);
    let again = harness.revoke(&room, turn(1, &key)).await;
    assert_eq!((again.id, again.state), (waited.id, revoked));
    let picked = harness.activate(&room, 1).await;
    assert_eq!((picked.id, picked.state), (waited.id, revoked));
    // It had its turn.
    for (number, window_ms) in [(2, CLAIM_WINDOW_MS), (3, 0)] {
        let rows = harness.activate_all(&room, &[number], window_ms).await;
        let over = harness.revoke(&room, turn(number, &fresh("r"))).await;
        assert_eq!((over.id, over.state), (rows[0].id, revoked));
        let claimed = harness.registry.claim_activation(rows[0].id, PASS_TTL_MS);
        let claimed = claimed.await.expect("an answer");
        assert!(matches!(claimed, Claimed::Ended(row) if row.state == revoked));
    }
    // It was over for another reason, which stays.
    let left = harness.activate(&room, 4).await;
    let end = EndCondition::Always(EndReason::Left);
    let ended = harness.registry.end_activation(left.id, end).await;
    ended.expect("ended");
    let over = harness.revoke(&room, turn(4, &fresh("r"))).await;
    assert_eq!(over.state, ActivationState::Ended(EndReason::Left));

    let recovered = harness.registry.raise_epoch(&room, 16).await;
    let recovered = recovered.expect("recovers");
    let numbers: Vec<u64> = recovered.ended.iter().map(|place| place.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(recovered.lanes[0].served, 3, "one of them waited only");
}

pub async fn an_operator_of_another_epoch_changes_nothing(harness: &Harness) {
    let room = harness.room().await;
    let other = other_epoch(&room);
    let key = fresh("e");
    let granted = harness
        .registry
        .grant_activation(&other, turn(1, &key), TTL_MS);
    assert_eq!(granted.await, Err(RoomsError::Fenced));
    let revoked = harness.registry.revoke_place(&other, turn(1, &key));
    assert_eq!(revoked.await, Err(RoomsError::Fenced));
    let found = harness.registry.activation_of(&room.id, place(1)).await;
    assert_eq!(found, Ok(None));
    let now = harness.grant(&room, turn(1, &key)).await;
    assert_eq!(now.state, ActivationState::Active, "the key was not kept");
}
