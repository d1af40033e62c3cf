//! The pass: checked in the transaction of the hold, completed in that of the
//! payment.

use super::fixture::{HOLD_TTL_MS, Sale, user};
use crate::domain::place::EndReason;
use crate::domain::sale::hold::ReservationState;
use crate::store::rooms::ActivationState;
use crate::store::sales::{CompletedPass, SalesError};

const PASS_TTL_MS: u64 = 30_000;

pub async fn a_protected_performance_needs_its_rooms_pass(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    let free = store.check_pass(user("ann"), performance.clone(), None);
    assert_eq!(
        free.await.unwrap().standing,
        None,
        "no room protects it yet"
    );

    let room = sale.protect(&performance).await;
    let elsewhere = sale.performance().await;
    let other_room = sale.protect(&elsewhere).await;
    let required = SalesError::PassRequired {
        room: room.id.clone(),
    };
    let without = sale.hold("ann", &performance, &["s1-r1-1"]).await;
    assert_eq!(without, Err(required.clone()));
    let looking = store.check_pass(user("ann"), performance.clone(), None);
    assert_eq!(looking.await, Err(required));

    let wrong = sale.activate(&other_room, "ann", 0, PASS_TTL_MS).await;
    let wrong = sale
        .hold_with("ann", &performance, &["s1-r1-1"], wrong)
        .await;
    assert_eq!(
        wrong,
        Err(SalesError::PassWrongRoom {
            room: room.id.clone()
        })
    );
    let theirs = sale.activate(&room, "bob", 0, PASS_TTL_MS).await;
    let theirs = sale
        .hold_with("ann", &performance, &["s1-r1-1"], theirs)
        .await;
    assert_eq!(theirs, Err(SalesError::PassOfAnotherUser));

    let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    let held = sale
        .hold_with("ann", &performance, &["s1-r1-1"], pass)
        .await;
    assert_eq!(held.unwrap().activation, Some(pass));
    let standing = store.check_pass(user("ann"), performance, Some(pass)).await;
    let standing = standing.unwrap().standing.unwrap();
    assert_eq!((standing.room, standing.activation), (room.id, pass));
}

pub async fn only_an_active_unexpired_pass_holds(sale: &Sale) {
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    let unclaimed = sale.activate(&room, "ann", 10_000, PASS_TTL_MS).await;
    let early = sale.hold_with("ann", &performance, &["s1-r1-1"], unclaimed);
    assert_eq!(early.await, Err(SalesError::NotActivated));

    let reasons = [
        EndReason::Completed,
        EndReason::Left,
        EndReason::Revoked,
        EndReason::PassExpired,
    ];
    for reason in reasons {
        let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
        sale.end(pass, reason).await;
        let held = sale
            .hold_with("ann", &performance, &["s1-r1-1"], pass)
            .await;
        assert_eq!(held, Err(SalesError::PassEnded), "{reason:?}");
    }
    let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    sale.advance_ms(PASS_TTL_MS - 1).await;
    sale.hold_with("ann", &performance, &["s1-r1-1"], pass)
        .await
        .unwrap();
    sale.advance_ms(1).await;
    // Nobody has ended its row yet.
    let late = sale
        .hold_with("ann", &performance, &["s1-r1-2"], pass)
        .await;
    assert_eq!(late, Err(SalesError::PassEnded));
}

pub async fn payment_completes_the_pass(sale: &Sale) {
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    sale.top_up("ann", 1_000).await;
    let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    let held = sale
        .hold_with("ann", &performance, &["s1-r1-1"], pass)
        .await;
    let held = held.unwrap();
    let command = sale.paying("ann", &held.id);
    let paid = sale.store().pay_reservation(command.clone()).await.unwrap();
    let completed = CompletedPass {
        room: room.id,
        activation: pass,
    };
    assert_eq!(paid.completed, Some(completed));
    let row = sale.store().activation(pass).await.unwrap();
    assert_eq!(row.state, ActivationState::Ended(EndReason::Completed));
    let used = sale
        .hold_with("ann", &performance, &["s1-r1-2"], pass)
        .await;
    assert_eq!(used, Err(SalesError::PassEnded));
    // A repeat says it again: freeing a slot twice frees it once.
    assert_eq!(sale.store().pay_reservation(command).await, Ok(paid));
}

pub async fn another_live_hold_keeps_the_pass(sale: &Sale) {
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    sale.top_up("ann", 1_000).await;
    let pass = sale.activate(&room, "ann", 0, 10 * HOLD_TTL_MS).await;
    let mut held = Vec::new();
    for seat in ["s1-r1-1", "s1-r1-2", "s1-r1-3"] {
        let hold = sale.hold_with("ann", &performance, &[seat], pass).await;
        held.push(hold.unwrap());
        sale.advance_ms(HOLD_TTL_MS / 4).await;
    }
    let paid = sale.pay("ann", &held[1].id).await.unwrap();
    assert_eq!(paid.completed, None, "two holds are live");
    // The first one runs out; only the third is left.
    sale.advance_ms(HOLD_TTL_MS / 4).await;
    let paid = sale.pay("ann", &held[2].id).await.unwrap();
    assert_eq!(paid.completed.map(|done| done.activation), Some(pass));
}

pub async fn a_hold_outlives_its_pass(sale: &Sale) {
    let performance = sale.performance().await;
    let room = sale.protect(&performance).await;
    sale.top_up("ann", 1_000).await;
    let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    let held = sale
        .hold_with("ann", &performance, &["s1-r1-1"], pass)
        .await;
    let held = held.unwrap();
    sale.advance_ms(PASS_TTL_MS).await;
    let store = sale.store();
    store
        .extend_hold(user("ann"), held.id.clone())
        .await
        .unwrap();
    let paid = sale.pay("ann", &held.id).await.unwrap();
    assert_eq!(paid.completed, None, "the room ends it as expired");
    let seen = store.reservation(user("ann"), held.id).await.unwrap();
    assert_eq!(seen.state, ReservationState::Confirmed);
    assert_eq!(seen.tickets.len(), 1);
}
