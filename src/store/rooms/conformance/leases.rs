//! Leases: one holder, until the time runs out.

use futures_util::future::join_all;

use super::Harness;
use crate::store::rooms::RoomsError;

const TTL_MS: u64 = 2_000;
/// Larger than a signed column holds.
const ALICE: u64 = u64::MAX - 1;
const BOB: u64 = 2;

pub async fn a_lease_is_held_by_one(h: &Harness) {
    let r = &h.registry;
    assert_eq!(r.lease("held", ALICE, TTL_MS).await, Ok(()));
    let refused = r.lease("held", BOB, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld));
    assert_eq!(r.lease("other", BOB, TTL_MS).await, Ok(()));

    h.clock.advance_ms(TTL_MS - 1);
    assert_eq!(r.lease("held", ALICE, TTL_MS).await, Ok(()), "renewed");
    h.clock.advance_ms(TTL_MS - 1);
    let refused = r.lease("held", BOB, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld));
}

pub async fn a_lease_is_taken_over_when_it_ran_out(h: &Harness) {
    let r = &h.registry;
    r.lease("over", ALICE, TTL_MS).await.expect("free");
    h.clock.advance_ms(TTL_MS);
    assert_eq!(r.lease("over", BOB, TTL_MS).await, Ok(()));
    let refused = r.lease("over", ALICE, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld), "too late to renew");
}

pub async fn a_lease_is_given_up_by_its_holder_only(h: &Harness) {
    let r = &h.registry;
    r.lease("mine", ALICE, TTL_MS).await.expect("free");
    assert_eq!(r.release_lease("mine", BOB).await, Ok(()));
    let refused = r.lease("mine", BOB, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld));
    assert_eq!(r.release_lease("mine", ALICE).await, Ok(()));
    assert_eq!(r.release_lease("mine", ALICE).await, Ok(()), "idempotent");
    assert_eq!(r.lease("mine", BOB, TTL_MS).await, Ok(()));
}

pub async fn of_racing_holders_one_gets_the_lease(h: &Harness) {
    for round in 0..10 {
        let takes = (1..=8).map(|holder| h.registry.lease("raced", holder, TTL_MS));
        let outcomes = join_all(takes).await;
        let held = outcomes.iter().filter(|one| one.is_ok()).count();
        let refused = outcomes
            .iter()
            .filter(|one| **one == Err(RoomsError::LeaseHeld))
            .count();
        assert_eq!((held, refused), (1, 7), "round {round}");
        h.clock.advance_ms(TTL_MS);
    }
}

pub async fn a_higher_holder_takes_a_ranked_lease(h: &Harness) {
    let r = &h.registry;
    assert_eq!(r.outrank("ranked", 1, TTL_MS).await, Ok(()));
    assert_eq!(r.outrank("ranked", 2, TTL_MS).await, Ok(()));
    let refused = r.outrank("ranked", 1, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld));
    h.clock.advance_ms(TTL_MS - 1);
    assert_eq!(r.outrank("ranked", 2, TTL_MS).await, Ok(()), "renewed");
    h.clock.advance_ms(TTL_MS - 1);
    let refused = r.outrank("ranked", 1, TTL_MS).await;
    assert_eq!(refused, Err(RoomsError::LeaseHeld));
    h.clock.advance_ms(1);
    assert_eq!(r.outrank("ranked", 1, TTL_MS).await, Ok(()), "it ran out");
}
