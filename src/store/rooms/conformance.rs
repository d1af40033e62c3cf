//! What every [`RoomRegistry`] must do: one function per promise, run by each
//! adapter's tests through [`room_registry_conformance`].
//!
//! A check makes rooms of its own, so checks may share a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::clock::ManualClock;
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::policy::{LanePolicy, RoomPolicy, ServingOrder};
use crate::domain::time::UnixMs;

use super::{ActivationRow, NewActivation, NewRoom, RoomRecord, RoomRegistry};

mod activations;
mod codes;
mod grants;
mod leases;
mod numbers;
mod records;
mod retention;

pub use activations::*;
pub use codes::*;
pub use grants::*;
pub use leases::*;
pub use numbers::*;
pub use records::*;
pub use retention::*;

pub const CLAIM_WINDOW_MS: u64 = 30_000;
pub const PASS_TTL_MS: u64 = 300_000;

/// A registry under test, and the clock it takes for the database's.
pub struct Harness {
    pub registry: Arc<dyn RoomRegistry>,
    pub clock: Arc<ManualClock>,
    rooms_made: AtomicU64,
}

impl Harness {
    #[must_use]
    pub fn new(registry: Arc<dyn RoomRegistry>, clock: Arc<ManualClock>) -> Self {
        Self {
            registry,
            clock,
            rooms_made: AtomicU64::new(0),
        }
    }

    fn new_room(&self, policy: RoomPolicy) -> NewRoom {
        let made = self.rooms_made.fetch_add(1, Ordering::Relaxed);
        NewRoom {
            id: RoomId::parse(&format!("room-{made}")).expect("an id"),
            display_name: format!("Room {made}"),
            policy,
            draw_secret: [7; 32],
            asked: None,
        }
    }

    async fn create(&self, policy: RoomPolicy) -> RoomRecord {
        let room = self.new_room(policy);
        self.registry.create_room(room).await.expect("creates")
    }

    /// A FIFO room with one lane, in its first epoch.
    async fn room(&self) -> RoomRef {
        at_epoch(&self.create(RoomPolicy::default()).await)
    }

    async fn activate(&self, room: &RoomRef, number: u64) -> ActivationRow {
        self.activate_all(room, &[number], CLAIM_WINDOW_MS)
            .await
            .remove(0)
    }

    async fn activate_all(
        &self,
        room: &RoomRef,
        numbers: &[u64],
        claim_window_ms: u64,
    ) -> Vec<ActivationRow> {
        let places = numbers.iter().map(|number| new_activation(*number));
        self.registry
            .insert_activations(room, places.collect(), claim_window_ms, PASS_TTL_MS)
            .await
            .expect("inserts")
    }

    fn now(&self) -> UnixMs {
        use crate::clock::Clock;
        self.clock.now()
    }
}

fn at_epoch(room: &RoomRecord) -> RoomRef {
    RoomRef {
        id: room.id.clone(),
        epoch: room.epoch,
    }
}

fn other_epoch(room: &RoomRef) -> RoomRef {
    RoomRef {
        id: room.id.clone(),
        epoch: room.epoch + 1,
    }
}

fn unknown_room() -> RoomRef {
    RoomRef {
        id: RoomId::parse("nobody-made-it").expect("an id"),
        epoch: 0,
    }
}

fn draw_policy(lanes: usize) -> RoomPolicy {
    RoomPolicy {
        order: ServingOrder::Draw,
        opens_at: Some(UnixMs(2_000_000)),
        lanes: lanes_named(lanes),
        ..RoomPolicy::default()
    }
}

fn lanes_named(count: usize) -> Vec<LanePolicy> {
    (0..count)
        .map(|index| LanePolicy {
            name: format!("lane {index}"),
            weight: 1,
            has_codes: false,
        })
        .collect()
}

fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

fn new_activation(number: u64) -> NewActivation {
    NewActivation {
        id: ActivationId(Uuid::new_v4()),
        place: place(number),
        user: user(number),
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("user-{number}@x")).expect("an id")
}

/// Makes one test of each promise. `$open` is an async function that gives a
/// [`Harness`] and whatever must live as long as it does.
#[macro_export]
macro_rules! room_registry_conformance {
    ($open:path) => {
        $crate::room_registry_conformance! { $open;
            a_room_is_kept_as_it_was_made
            a_room_is_made_once
            only_a_draw_has_a_secret
            an_update_needs_the_version_it_read
            of_two_updates_of_one_version_one_wins
            a_secret_once_made_stays
            a_lane_can_be_added
            a_missing_room_is_said_to_be_missing
            a_writer_of_another_epoch_changes_nothing
            of_two_who_raise_the_epoch_one_wins
            recovery_tells_all_that_is_known
            numbers_are_reserved_upwards_and_given_back
            departed_pages_are_merged
            racing_pages_are_merged
            the_draw_is_fixed_once
            a_room_without_draw_has_no_participants
            a_place_keeps_its_first_activation
            an_ended_place_is_never_activated_again
            activations_are_answered_in_the_order_asked
            many_activations_fit_into_one_call
            an_id_of_another_place_is_refused_whole
            without_a_claim_window_a_place_is_active_at_once
            a_claim_counts_until_its_window_ends
            a_second_claim_gets_the_same_pass
            a_claim_after_the_end_says_which_end
            a_pass_is_over_at_its_time
            an_end_if_expired_waits_for_the_time
            the_first_reason_stays
            of_racing_ends_one_transition_is_made
            a_claim_racing_an_end_leaves_one_outcome
            activations_are_found_by_id_and_place
            a_caller_that_goes_away_changes_nothing
            a_code_is_one_users_once_it_is_redeemed
            of_racing_users_one_redeems_a_code
            codes_are_added_and_those_given_stay
            a_granted_place_is_active_for_its_own_time
            a_grant_claims_what_is_unclaimed_and_moves_no_pass
            a_revoked_place_never_gets_a_turn
            an_operator_of_another_epoch_changes_nothing
            a_lease_is_held_by_one
            a_lease_is_taken_over_when_it_ran_out
            a_lease_is_given_up_by_its_holder_only
            of_racing_holders_one_gets_the_lease
            a_room_is_over_when_nothing_lives_in_it
            a_forgotten_room_is_unknown
            a_forgotten_rooms_row_goes_last
            a_higher_holder_takes_a_ranked_lease
        }
    };
    ($open:path; $($promise:ident)+) => {$(
        #[tokio::test]
        async fn $promise() {
            let (harness, _alive) = $open().await;
            $crate::store::rooms::conformance::$promise(&harness).await;
        }
    )+};
}
