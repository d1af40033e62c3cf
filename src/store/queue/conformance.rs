//! What every [`QueueStore`] promises, as behaviours. An adapter's test opens
//! an empty store for each and runs them all:
//! `queue_store_conformance!(open)`.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Built, Confirm, LEASE_MS, LaneInit, LaneOpening, LeaveOutcome, Presence, QueueError,
    QueueStore, RoomInit, Strain, Take, Taken, Tick,
};
use crate::bus::{BusEvent, BusMessage, BusSubscription};
use crate::clock::ManualClock;
use crate::domain::delta::{DrawOrder, RoomDelta};
use crate::domain::ids::{ActivationId, Cursor, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::{EndReason, RoomSwitches, Standing};
use crate::domain::policy::{RoomPolicy, ServingOrder};

mod forgetting;
mod grants;
mod lanes;
mod presence;
mod recovery;
mod settings;
mod steering;

pub use forgetting::a_forgotten_room_leaves_nothing;
pub use grants::{
    a_grant_takes_a_slot_out_of_turn, a_grant_without_a_place_issues_a_number_that_never_waits,
    a_row_that_is_over_ends_its_place,
};
pub use lanes::{
    a_lane_is_appended_and_reserved_for, lanes_have_own_numbers_and_share_slots_by_weight,
};
pub use presence::{
    a_lease_does_not_run_out_while_ticks_rest, places_of_a_silent_node_hold_up_nobody,
    streams_of_a_silent_node_are_no_presence,
};
pub use recovery::{departed_pages_rebuild_the_line, turns_survive_a_new_epoch};
pub use settings::an_earlier_row_does_not_overwrite_a_later_one;
pub use steering::a_strained_sale_lowers_the_rate_for_a_while;

/// A store under test, the clock it reads, and what it publishes.
pub struct Rig {
    pub store: Arc<dyn QueueStore>,
    pub clock: Arc<ManualClock>,
    pub bus: Box<dyn BusSubscription>,
}

const EPOCH: u64 = 3;
const NODE: Incarnation = Incarnation(7);

fn room() -> RoomRef {
    RoomRef {
        id: RoomId::parse("room").expect("an id"),
        epoch: EPOCH,
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("an id")
}

fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

fn init(policy: RoomPolicy, reserved_to: u64) -> RoomInit {
    let opened = policy.order == ServingOrder::Fifo;
    let lane = LaneInit {
        reserved_to,
        ..LaneInit::default()
    };
    RoomInit {
        version: 1,
        lanes: vec![lane; policy.lanes.len()],
        policy: Arc::new(policy),
        switches: RoomSwitches {
            opened,
            ..RoomSwitches::default()
        },
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    }
}

fn policy(capacity: u64) -> RoomPolicy {
    RoomPolicy {
        capacity,
        rate_per_s: 1_000.0,
        ..RoomPolicy::default()
    }
}

fn take(name: &str, presented: Option<u64>, may_issue: bool) -> Take {
    Take {
        user: user(name),
        presented: presented.map(place),
        issue_in: may_issue.then_some(0),
        presence: Presence::Stream(NODE),
    }
}

impl Rig {
    async fn with_room(self, policy: RoomPolicy) -> Self {
        let made = self.store.init(&room(), init(policy, 1_000)).await;
        made.expect("a room");
        self
    }

    async fn join(&self, name: &str) -> u64 {
        let taken = self.store.take(&room(), take(name, None, true)).await;
        taken.expect("a place").place.key.number
    }

    async fn tick(&self, step_ms: u64) -> Tick {
        self.clock.advance_ms(step_ms);
        self.store.tick(&room(), Some(NODE)).await.expect("a tick")
    }

    /// Ticks, and writes the rows of those picked.
    async fn activate(&self, step_ms: u64) -> Vec<Confirm> {
        let granted = self.tick(step_ms).await.granted;
        let rows: Vec<Confirm> = granted
            .into_iter()
            .map(|granted| Confirm {
                standing: Standing::Activated {
                    id: ActivationId(Uuid::from_u128(u128::from(granted.place.number))),
                    claim_by: crate::domain::time::UnixMs(u64::MAX),
                },
                place: granted.place,
                user: granted.user,
                remaining_ms: 30_000,
            })
            .collect();
        let left = self.store.confirm(&room(), rows.clone()).await;
        assert_eq!(left, Ok(Vec::new()));
        rows
    }

    /// Deltas published until now.
    async fn published(&mut self) -> Vec<Arc<RoomDelta>> {
        let newest = self.store.snapshot(&room()).await.expect("a room").cursor;
        let mut deltas: Vec<Arc<RoomDelta>> = Vec::new();
        while deltas.last().is_none_or(|delta| delta.cursor < newest) {
            match self.bus.next().await {
                Some(BusEvent::Message(BusMessage::Room(_, delta))) => deltas.push(delta),
                Some(BusEvent::Message(_)) => {}
                Some(BusEvent::Gap | BusEvent::RoomGap(_)) | None => {
                    panic!("the bus lost something")
                }
            }
        }
        deltas
    }
}

pub async fn another_epoch_is_told_to_recover_and_changes_nothing(rig: Rig) {
    assert_eq!(
        rig.store.tick(&room(), None).await,
        Err(QueueError::Recover)
    );
    let rig = rig.with_room(policy(0)).await;
    for epoch in [EPOCH - 1, EPOCH + 1] {
        let other = RoomRef { epoch, ..room() };
        let taken = rig.store.take(&other, take("ann", None, true)).await;
        assert_eq!(taken, Err(QueueError::Recover));
    }
    assert_eq!(rig.store.find(&room(), &user("ann")).await, Ok(None));
    let older = RoomRef {
        epoch: EPOCH - 1,
        ..room()
    };
    let again = rig.store.init(&older, init(policy(9), 5)).await;
    assert_eq!(again, Ok(Built::Kept), "an older epoch stays out");
    let again = rig.store.init(&room(), init(policy(9), 5)).await;
    assert_eq!(again, Ok(Built::Kept), "and so does another of this one");
    assert_eq!(rig.join("ann").await, 1);
}

pub async fn numbers_rise_up_to_what_is_reserved(rig: Rig) {
    rig.store
        .init(&room(), init(policy(0), 2))
        .await
        .expect("a room");
    assert_eq!(rig.join("ann").await, 1);
    assert_eq!(rig.join("bob").await, 2);
    assert_eq!(rig.join("ann").await, 1, "one live place per user");
    let refused = rig.store.take(&room(), take("cid", None, true)).await;
    let Err(QueueError::NumbersExhausted {
        lane: 0,
        reserve_to,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    for _ in 0..2 {
        let reserved = rig.store.reserve(&room(), 0, reserve_to).await;
        assert_eq!(reserved, Ok(()));
    }
    assert_eq!(rig.join("cid").await, 3);
}

pub async fn slots_never_exceed_the_capacity_and_are_freed_once(rig: Rig) {
    let rig = rig.with_room(policy(2)).await;
    for name in ["a", "b", "c", "d"] {
        rig.join(name).await;
    }
    let rows = rig.activate(100).await;
    assert_eq!(rows.len(), 2);
    assert!(rig.activate(100).await.is_empty());
    let id = rows[0].standing.activation_id().expect("an activation");
    for _ in 0..2 {
        let freed = rig.store.free(&room(), id, EndReason::Completed).await;
        assert_eq!(freed, Ok(()));
    }
    let next = rig.activate(100).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].place, place(3));
    let twice = rig.store.confirm(&room(), next).await;
    assert_eq!(twice, Ok(Vec::new()), "idempotent");
    let counts = rig.store.counts(&room()).await.expect("counts");
    assert_eq!((counts.activated, counts.waiting), (2, 1));
}

pub async fn what_is_not_confirmed_is_handed_out_again(rig: Rig) {
    let rig = rig.with_room(policy(1)).await;
    rig.join("ann").await;
    assert_eq!(rig.tick(100).await.granted.len(), 1);
    assert!(rig.tick(500).await.granted.is_empty());
    assert_eq!(rig.tick(500).await.granted[0].place, place(1));
    let found = rig.store.find(&room(), &user("ann")).await;
    let standing = found.expect("an answer").map(|place| place.standing);
    assert_eq!(standing, Some(Standing::Waiting), "until SQL says so");
}

pub async fn an_end_is_proposed_until_it_is_freed(rig: Rig) {
    let rig = rig.with_room(policy(1)).await;
    rig.join("ann").await;
    let id = rig.activate(100).await[0].standing.activation_id();
    let mut due = Vec::new();
    for _ in 0..31 {
        due = rig.tick(1_000).await.due;
        if !due.is_empty() {
            break;
        }
    }
    assert_eq!(due.first().copied(), id);
    let id = due[0];
    assert_eq!(rig.store.rearm(&room(), id, 5_000).await, Ok(()));
    assert!(rig.tick(1_000).await.due.is_empty());
    let again: Vec<_> = [rig.tick(1_000).await.due, rig.tick(1_000).await.due].concat();
    assert!(again.is_empty());
    rig.tick(1_000).await;
    assert_eq!(rig.tick(1_000).await.due, [id]);
}

pub async fn leaving_is_idempotent_and_for_ever(rig: Rig) {
    let rig = rig.with_room(policy(0)).await;
    rig.join("ann").await;
    for _ in 0..2 {
        let left = rig.store.leave(&room(), place(1), &user("ann")).await;
        assert_eq!(left, Ok(LeaveOutcome::Ended(EndReason::Left)));
    }
    let shown = rig.store.take(&room(), take("ann", Some(1), false)).await;
    let standing = shown.expect("an answer").place.standing;
    assert_eq!(standing, Standing::Ended(EndReason::Left));
    assert_eq!(rig.join("ann").await, 2);
    let unknown = rig.store.leave(&room(), place(9), &user("ann")).await;
    assert_eq!(unknown, Err(QueueError::UnknownPlace));
}

pub async fn absence_belongs_to_its_owner(rig: Rig) {
    let rig = rig.with_room(policy(1)).await;
    rig.join("ann").await;
    let theirs = vec![(place(1), user("ann"))];
    let other = Incarnation(8);
    rig.store
        .absent(&room(), theirs.clone(), other)
        .await
        .expect("a no-op");
    assert_eq!(rig.store.counts(&room()).await.expect("counts").absent, 0);
    rig.store
        .absent(&room(), theirs, NODE)
        .await
        .expect("absent");
    assert!(rig.tick(100).await.granted.is_empty(), "passed over");
    let back = vec![(place(1), user("ann"))];
    rig.store
        .present(&room(), back, NODE)
        .await
        .expect("present");
    assert_eq!(rig.tick(100).await.granted.len(), 1);
}

pub async fn every_change_is_in_one_delta_without_a_gap(rig: Rig) {
    let mut rig = rig.with_room(policy(2)).await;
    for name in ["a", "b", "c", "d"] {
        rig.join(name).await;
    }
    rig.activate(100).await;
    let left = rig.store.leave(&room(), place(4), &user("d")).await;
    left.expect("left");
    rig.tick(100).await;
    let deltas = rig.published().await;
    let revisions: Vec<u64> = deltas.iter().map(|delta| delta.cursor.revision).collect();
    let expected: Vec<u64> = (1..=revisions.len() as u64).collect();
    assert_eq!(revisions, expected);
    let departed = deltas.iter().flat_map(|delta| &delta.lanes[0].departed);
    let mut departed: Vec<u64> = departed.copied().collect();
    departed.sort_unstable();
    assert_eq!(departed, [1, 2, 4]);
    let start = Cursor {
        epoch: EPOCH,
        revision: 0,
    };
    let kept = rig.store.deltas_since(&room(), start).await;
    assert_eq!(kept, Ok(Some(deltas)));
}

pub async fn a_draw_freezes_numbers_and_serves_by_its_order(rig: Rig) {
    let draw = RoomPolicy {
        order: ServingOrder::Draw,
        ..policy(100)
    };
    let rig = rig.with_room(draw).await;
    for index in 1..=9 {
        rig.join(&format!("u{index}")).await;
    }
    assert!(rig.tick(100).await.granted.is_empty(), "not open");
    assert_eq!(rig.store.freeze(&room()).await, Ok(vec![9]));
    let late = rig.store.take(&room(), take("late", None, true)).await;
    assert_eq!(late, Err(QueueError::Opening));
    let order = DrawOrder {
        n: 9,
        seed: [5; 32],
    };
    for _ in 0..2 {
        let opened = rig
            .store
            .open(&room(), vec![LaneOpening::Draw(order)])
            .await;
        assert_eq!(opened, Ok(()));
    }
    assert_eq!(rig.join("late").await, 10);
    let mut served = Vec::new();
    for _ in 0..10 {
        let rows = rig.activate(100).await;
        served.extend(rows.iter().map(|row| row.place.number));
    }
    let permutation = crate::domain::draw::Permutation::new(&order.seed, order.n);
    let mut expected: Vec<u64> = (1..=9).map(|place| permutation.number(place)).collect();
    expected.push(10);
    assert_eq!(served, expected);
}

pub async fn nobody_ends_the_place_of_another(rig: Rig) {
    let rig = rig.with_room(policy(1)).await;
    rig.join("ann").await;
    for step in 0..3 {
        let left = rig.store.leave(&room(), place(1), &user("bob")).await;
        assert_eq!(left, Err(QueueError::UnknownPlace), "step {step}");
        let theirs = vec![(place(1), user("bob"))];
        let told = rig.store.absent(&room(), theirs, NODE).await;
        assert_eq!(told, Ok(()));
        let found = rig.store.find(&room(), &user("ann")).await;
        assert!(found.is_ok_and(|found| found.is_some()));
        assert_eq!(rig.store.counts(&room()).await.expect("counts").absent, 0);
        // It waits; is picked; has its turn.
        match step {
            0 => drop(rig.tick(100).await),
            _ => drop(rig.activate(1_000).await),
        }
    }
}

async fn asked(rig: &Rig, take: Take) -> (UserId, Result<Taken, QueueError>) {
    (take.user.clone(), rig.store.take(&room(), take).await)
}

pub async fn takes_at_once_have_their_own_answers(rig: Rig) {
    let rig = rig.with_room(policy(0)).await;
    let names: Vec<String> = (0..300).map(|index| format!("u{}", index % 200)).collect();
    let takes = names.iter().enumerate().map(|(index, name)| {
        // Some ask for what they never had.
        let take = take(name, None, index % 50 != 49);
        asked(&rig, take)
    });
    let mut places = std::collections::BTreeMap::new();
    for (user, taken) in futures_util::future::join_all(takes).await {
        match taken {
            Ok(taken) => {
                assert_eq!(taken.place.user, user);
                let before = places.insert(user, taken.place.key);
                assert!(before.is_none_or(|before| before == taken.place.key));
            }
            Err(error) => assert_eq!(error, QueueError::UnknownPlace),
        }
    }
    let mut numbers: Vec<u64> = places.values().map(|place| place.number).collect();
    numbers.sort_unstable();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "each number once, none left out");
}

/// Runs every promise against `open`, an async function that makes a [`Rig`]:
/// each in a test of its own, or, with an argument for `open`, in one.
macro_rules! queue_store_conformance {
    ($($how:tt)*) => {
        $crate::store::queue::conformance::queue_store_promises! { ($($how)*)
            another_epoch_is_told_to_recover_and_changes_nothing,
            numbers_rise_up_to_what_is_reserved,
            slots_never_exceed_the_capacity_and_are_freed_once,
            what_is_not_confirmed_is_handed_out_again,
            an_end_is_proposed_until_it_is_freed,
            leaving_is_idempotent_and_for_ever,
            nobody_ends_the_place_of_another,
            absence_belongs_to_its_owner,
            streams_of_a_silent_node_are_no_presence,
            a_lease_does_not_run_out_while_ticks_rest,
            places_of_a_silent_node_hold_up_nobody,
            takes_at_once_have_their_own_answers,
            every_change_is_in_one_delta_without_a_gap,
            departed_pages_rebuild_the_line,
            turns_survive_a_new_epoch,
            a_forgotten_room_leaves_nothing,
            a_draw_freezes_numbers_and_serves_by_its_order,
            lanes_have_own_numbers_and_share_slots_by_weight,
            a_lane_is_appended_and_reserved_for,
            a_grant_takes_a_slot_out_of_turn,
            a_grant_without_a_place_issues_a_number_that_never_waits,
            a_row_that_is_over_ends_its_place,
            a_strained_sale_lowers_the_rate_for_a_while,
            an_earlier_row_does_not_overwrite_a_later_one,
        }
    };
}
pub(crate) use queue_store_conformance;

macro_rules! queue_store_promises {
    (($open:ident) $($promise:ident,)*) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::store::queue::conformance::$promise($open().await).await;
        }
    )*};
    (($open:ident $of:expr) $($promise:ident,)*) => {{$(
        $crate::store::queue::conformance::$promise($open($of).await).await;
    )*}};
}
pub(crate) use queue_store_promises;
