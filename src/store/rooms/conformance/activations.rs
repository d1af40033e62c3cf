//! Activations: one per place for ever, ended once, judged by one clock.

use futures_util::future::join_all;
use tokio::join;
use uuid::Uuid;

use super::{CLAIM_WINDOW_MS, Harness, PASS_TTL_MS, new_activation, place, unknown_room, user};
use crate::domain::ids::ActivationId;
use crate::domain::place::EndReason;
use crate::store::rooms::{
    ActivationRow, ActivationState, Claimed, EndCondition, NewActivation, RoomsError,
};

const LEFT: EndCondition = EndCondition::Always(EndReason::Left);
const REVOKED: EndCondition = EndCondition::Always(EndReason::Revoked);

async fn claim(h: &Harness, id: ActivationId) -> Claimed {
    h.registry
        .claim_activation(id, PASS_TTL_MS)
        .await
        .expect("answers")
}

async fn end(h: &Harness, id: ActivationId, condition: EndCondition) -> ActivationRow {
    h.registry
        .end_activation(id, condition)
        .await
        .expect("answers")
}

pub async fn a_place_keeps_its_first_activation(h: &Harness) {
    let room = h.room().await;
    let first = h.activate(&room, 5).await;
    assert_eq!(first.room, room.id);
    assert_eq!((first.place, &first.user), (place(5), &user(5)));
    assert_eq!(first.state, ActivationState::Activated);
    assert_eq!(first.activated_at, h.now());
    assert_eq!(first.claim_by, Some(h.now().plus_ms(CLAIM_WINDOW_MS)));
    assert_eq!((first.claimed_at, first.expire_time), (None, None));

    h.clock.advance_ms(10);
    let again = h.activate(&room, 5).await;
    assert_eq!(again.as_of, h.now());
    assert_eq!(
        ActivationRow {
            as_of: first.as_of,
            ..again
        },
        first
    );
    let racing = (0..10).map(|_| h.activate_all(&room, &[6, 7], CLAIM_WINDOW_MS));
    let answers = join_all(racing).await;
    assert!(
        answers.iter().all(|rows| *rows == answers[0]),
        "one row each"
    );
}

pub async fn an_ended_place_is_never_activated_again(h: &Harness) {
    let room = h.room().await;
    let first = h.activate(&room, 1).await;
    let ended = end(h, first.id, LEFT).await;
    assert_eq!(h.activate(&room, 1).await, ended);
}

pub async fn activations_are_answered_in_the_order_asked(h: &Harness) {
    let room = h.room().await;
    h.activate(&room, 3).await;
    let numbers = [9, 3, 1, 7];
    let rows = h.activate_all(&room, &numbers, CLAIM_WINDOW_MS).await;
    let answered: Vec<u64> = rows.iter().map(|row| row.place.number).collect();
    assert_eq!(answered, numbers);
    assert!(h.activate_all(&room, &[], 1).await.is_empty());
}

pub async fn many_activations_fit_into_one_call(h: &Harness) {
    let room = h.room().await;
    let numbers: Vec<u64> = (1..=3_000).collect();
    let rows = h.activate_all(&room, &numbers, CLAIM_WINDOW_MS).await;
    assert!(rows.iter().map(|row| row.place.number).eq(numbers));
}

pub async fn an_id_of_another_place_is_refused_whole(h: &Harness) {
    let room = h.room().await;
    let taken = h.activate(&room, 1).await;
    let clash = NewActivation {
        id: taken.id,
        ..new_activation(2)
    };
    let places = vec![new_activation(3), clash];
    let refused = h
        .registry
        .insert_activations(&room, places, CLAIM_WINDOW_MS, PASS_TTL_MS)
        .await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(h.registry.activation_of(&room.id, place(3)).await, Ok(None));
}

pub async fn without_a_claim_window_a_place_is_active_at_once(h: &Harness) {
    let room = h.room().await;
    let row = h.activate_all(&room, &[1], 0).await.remove(0);
    assert_eq!(row.state, ActivationState::Active);
    assert_eq!(row.claim_by, None);
    assert_eq!(row.claimed_at, Some(h.now()));
    assert_eq!(row.expire_time, Some(h.now().plus_ms(PASS_TTL_MS)));
    assert_eq!(claim(h, row.id).await, Claimed::Active(row));
}

pub async fn a_claim_counts_until_its_window_ends(h: &Harness) {
    let room = h.room().await;
    let rows = h.activate_all(&room, &[1, 2], CLAIM_WINDOW_MS).await;
    h.clock.advance_ms(CLAIM_WINDOW_MS - 1);
    let Claimed::Active(in_time) = claim(h, rows[0].id).await else {
        panic!("a millisecond before the end is in time");
    };
    assert_eq!(in_time.state, ActivationState::Active);
    assert_eq!(in_time.claimed_at, Some(h.now()));
    assert_eq!(in_time.expire_time, Some(h.now().plus_ms(PASS_TTL_MS)));

    h.clock.advance_ms(1);
    let Claimed::Late(late) = claim(h, rows[1].id).await else {
        panic!("at its end the window is over");
    };
    let unclaimed = ActivationState::Ended(EndReason::Unclaimed);
    assert_eq!(late.state, unclaimed);
    assert_eq!(h.registry.activation(late.id).await, Ok(late.clone()));
    assert_eq!(claim(h, late.id).await, Claimed::Late(late));
}

pub async fn a_second_claim_gets_the_same_pass(h: &Harness) {
    let room = h.room().await;
    let row = h.activate(&room, 1).await;
    let racing = (0..10).map(|_| claim(h, row.id));
    let answers = join_all(racing).await;
    assert!(matches!(answers[0], Claimed::Active(_)));
    assert!(answers.iter().all(|answer| *answer == answers[0]));

    h.clock.advance_ms(CLAIM_WINDOW_MS + 1);
    let Claimed::Active(later) = claim(h, row.id).await else {
        panic!("the window no longer matters");
    };
    let Claimed::Active(first) = &answers[0] else {
        panic!("matched above");
    };
    assert_eq!(
        (later.claimed_at, later.expire_time),
        (first.claimed_at, first.expire_time)
    );
}

pub async fn a_claim_after_the_end_says_which_end(h: &Harness) {
    let room = h.room().await;
    let rows = h.activate_all(&room, &[1, 2], CLAIM_WINDOW_MS).await;
    let left = end(h, rows[0].id, LEFT).await;
    assert_eq!(claim(h, left.id).await, Claimed::Ended(left));
    let completed = EndCondition::Always(EndReason::Completed);
    claim(h, rows[1].id).await;
    let used = end(h, rows[1].id, completed).await;
    assert_eq!(claim(h, used.id).await, Claimed::Ended(used));
    let nobody = ActivationId(Uuid::nil());
    let unknown = h.registry.claim_activation(nobody, 1).await;
    assert_eq!(unknown, Err(RoomsError::UnknownActivation));
}

pub async fn a_pass_is_over_at_its_time(h: &Harness) {
    let room = h.room().await;
    let row = h.activate(&room, 1).await;
    claim(h, row.id).await;
    h.clock.advance_ms(PASS_TTL_MS - 1);
    assert!(matches!(claim(h, row.id).await, Claimed::Active(_)));
    h.clock.advance_ms(1);
    let Claimed::Ended(over) = claim(h, row.id).await else {
        panic!("a pass is not given out again once it is over");
    };
    assert_eq!(over.state, ActivationState::Ended(EndReason::PassExpired));
    assert_eq!(h.registry.activation(row.id).await, Ok(over));
}

pub async fn an_end_if_expired_waits_for_the_time(h: &Harness) {
    let room = h.room().await;
    let rows = h.activate_all(&room, &[1, 2], CLAIM_WINDOW_MS).await;
    claim(h, rows[1].id).await;
    let ends = [
        (
            0,
            CLAIM_WINDOW_MS,
            ActivationState::Activated,
            EndReason::Unclaimed,
        ),
        (
            1,
            PASS_TTL_MS - CLAIM_WINDOW_MS,
            ActivationState::Active,
            EndReason::PassExpired,
        ),
    ];
    for (index, span_ms, before, reason) in ends {
        h.clock.advance_ms(span_ms - 1);
        let early = end(h, rows[index].id, EndCondition::IfExpired).await;
        assert_eq!(early.state, before);
        h.clock.advance_ms(1);
        let over = end(h, rows[index].id, EndCondition::IfExpired).await;
        assert_eq!(over.state, ActivationState::Ended(reason));
        assert_eq!(over.as_of, h.now());
    }
    // The clock goes back: what is over stays over.
    h.clock.set(rows[0].activated_at);
    let row = end(h, rows[0].id, EndCondition::IfExpired).await;
    assert_eq!(row.state, ActivationState::Ended(EndReason::Unclaimed));
}

pub async fn the_first_reason_stays(h: &Harness) {
    let room = h.room().await;
    let row = h.activate(&room, 1).await;
    let first = end(h, row.id, LEFT).await;
    assert_eq!(first.state, ActivationState::Ended(EndReason::Left));
    assert_eq!(end(h, row.id, REVOKED).await, first);
    h.clock.advance_ms(PASS_TTL_MS);
    let later = end(h, row.id, EndCondition::IfExpired).await;
    assert_eq!(later.state, first.state);
    let nobody = ActivationId(Uuid::nil());
    let unknown = h.registry.end_activation(nobody, LEFT).await;
    assert_eq!(unknown, Err(RoomsError::UnknownActivation));
}

pub async fn of_racing_ends_one_transition_is_made(h: &Harness) {
    let room = h.room().await;
    for number in 1..=20 {
        let row = h.activate(&room, number).await;
        let (left, revoked) = join!(end(h, row.id, LEFT), end(h, row.id, REVOKED));
        assert_eq!(left.state, revoked.state, "both see the same end");
        let stored = h.registry.activation(row.id).await.expect("reads");
        assert_eq!(stored.state, left.state);
    }
}

pub async fn a_claim_racing_an_end_leaves_one_outcome(h: &Harness) {
    let room = h.room().await;
    for number in 1..=20 {
        let row = h.activate(&room, number).await;
        let (claimed, ended) = if number % 2 == 0 {
            join!(claim(h, row.id), end(h, row.id, LEFT))
        } else {
            let (ended, claimed) = join!(end(h, row.id, LEFT), claim(h, row.id));
            (claimed, ended)
        };
        assert_eq!(ended.state, ActivationState::Ended(EndReason::Left));
        match claimed {
            // Claimed first: the row it saw was ended with its pass.
            Claimed::Active(active) => assert_eq!(ended.claimed_at, active.claimed_at),
            Claimed::Ended(row) => {
                assert_eq!(row.state, ended.state);
                assert_eq!(ended.claimed_at, None, "never claimed");
            }
            Claimed::Late(row) => panic!("the window is open: {row:?}"),
        }
    }
    // At the end of the window a claim and the sweep agree.
    let rows = h.activate_all(&room, &[30, 31], CLAIM_WINDOW_MS).await;
    h.clock.advance_ms(CLAIM_WINDOW_MS);
    for row in rows {
        let (claimed, ended) = join!(claim(h, row.id), end(h, row.id, EndCondition::IfExpired));
        assert_eq!(claimed, Claimed::Late(ended));
    }
}

pub async fn activations_are_found_by_id_and_place(h: &Harness) {
    let (room, other) = (h.room().await, h.room().await);
    let row = h.activate(&room, 4).await;
    let r = &h.registry;
    assert_eq!(r.activation(row.id).await, Ok(row.clone()));
    let found = r.activation_of(&room.id, place(4)).await;
    assert_eq!(found, Ok(Some(row.clone())));
    assert_eq!(r.activation_of(&room.id, place(5)).await, Ok(None));
    assert_eq!(r.activation_of(&other.id, place(4)).await, Ok(None));
    assert_eq!(
        r.activation_of(&unknown_room().id, place(4)).await,
        Ok(None)
    );
    let nobody = ActivationId(Uuid::nil());
    assert_eq!(
        r.activation(nobody).await,
        Err(RoomsError::UnknownActivation)
    );
    // The same number of another room is another place.
    assert_ne!(h.activate(&other, 4).await.id, row.id);
}

/// A call that is dropped after it began runs to its end, once.
pub async fn a_caller_that_goes_away_changes_nothing(h: &Harness) {
    let room = h.room().await;
    for number in 1..=200 {
        let mut call = Box::pin(h.activate(&room, number));
        let _ = futures_util::poll!(&mut call);
    }
    h.activate(&room, 201).await;
    for number in 1..=201 {
        let row = h.registry.activation_of(&room.id, place(number)).await;
        assert!(matches!(row, Ok(Some(_))), "number {number}: {row:?}");
    }
}
