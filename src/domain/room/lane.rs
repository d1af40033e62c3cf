//! One line of a room: its numbers, who stands at each, and who is next.
//!
//! The next place is found without an ordered set of everyone: `scan` walks
//! the orders once, and places it passed over while they were absent stand in
//! `returned` when they come back. So a join costs O(1), opening a DRAW costs
//! nothing per place, and the walk is amortized over the line: no step of the
//! room looks at more than a bounded number of orders, however many registered.

use std::collections::{BTreeSet, HashMap};

use crate::domain::delta::DrawOrder;
use crate::domain::draw::Permutation;
use crate::domain::ids::{ActivationId, Incarnation, LaneIndex, Number, Order, PlaceKey, UserId};
use crate::domain::place::EndReason;
use crate::domain::rank::{DepartedRank, PAGE_BITS};
use crate::domain::time::RoomMs;

use super::command::{LaneOpening, Refusal};

/// Whether the user of a waiting place is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attendance {
    Stream(Incarnation),
    /// A call vouches until then.
    Until(RoomMs),
    Absent {
        since: RoomMs,
    },
}

impl Attendance {
    pub(super) fn is_there(self) -> bool {
        !matches!(self, Self::Absent { .. })
    }
}

/// Who stands at a number.
#[derive(Debug, Clone)]
pub(super) enum Spot {
    /// May have been issued before a recovery: waiting and absent, its user
    /// unknown until the token comes back.
    Unclaimed,
    Waiting {
        user: UserId,
        attendance: Attendance,
        /// Its entry in the room's timers.
        timer: Option<RoomMs>,
    },
    /// Picked; its activation's row is being written.
    Granting {
        user: UserId,
        /// When the row's writing was last handed out.
        asked_at: RoomMs,
        /// The user left meanwhile.
        left: bool,
    },
    /// Has its turn.
    Turn { user: UserId, id: ActivationId },
    Ended {
        reason: EndReason,
        survivor: Option<PlaceKey>,
    },
}

impl Spot {
    /// It waits, and nobody vouches for it.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Unclaimed => true,
            Self::Waiting { attendance, .. } => !attendance.is_there(),
            Self::Granting { .. } | Self::Turn { .. } | Self::Ended { .. } => false,
        }
    }
}

/// Departed orders that one look at `head` passes at most.
pub(super) const HEAD_STEPS_MAX: u32 = 4_096;
/// Numbers a lane keeps in reserve at least…
pub const RESERVE_MIN: u64 = 16;
/// …and at most, whatever its joins; in between, about two seconds of joins.
pub const RESERVE_MAX: u64 = 100_000;

/// Joins of this second and of the one before, in room time.
#[derive(Debug, Default)]
struct JoinRate {
    second: u64,
    joins: u64,
    joins_before: u64,
}

impl JoinRate {
    fn count(&mut self, now: RoomMs) {
        let second = now.0 / 1_000;
        if second != self.second {
            self.joins_before = match second == self.second + 1 {
                true => self.joins,
                false => 0,
            };
            self.joins = 0;
            self.second = second;
        }
        self.joins += 1;
    }

    fn two_seconds(&self) -> u64 {
        2 * self.joins.max(self.joins_before)
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) index: LaneIndex,
    /// Highest number issued.
    pub(super) issued: Number,
    pub(super) reserved_to: Number,
    /// No number is issued until `open`.
    pub(super) frozen: bool,
    /// Activations ever made here.
    pub(super) served: u64,
    /// Waiting places, those in `granting` and absent ones included.
    pub(super) waiting: u64,
    /// Of these, the ones nobody vouches for.
    pub(super) absent: u64,
    pub(super) departed: DepartedRank,
    /// Revision at which each page of `departed` last changed.
    pub(super) page_revisions: HashMap<u32, u64>,
    pub(super) opening: LaneOpening,
    permutation: Option<Permutation>,
    join_rate: JoinRate,
    spots: Vec<Spot>,
    head: Order,
    scan: Order,
    returned: BTreeSet<Order>,
}

impl Lane {
    pub(super) fn new(index: LaneIndex, issued: Number, reserved_to: Number) -> Self {
        let spots = usize::try_from(issued).unwrap_or(usize::MAX);
        Self {
            index,
            issued,
            reserved_to,
            frozen: false,
            served: 0,
            waiting: issued,
            absent: issued,
            departed: DepartedRank::default(),
            page_revisions: HashMap::new(),
            opening: LaneOpening::Fifo,
            permutation: None,
            join_rate: JoinRate::default(),
            spots: vec![Spot::Unclaimed; spots],
            head: 1,
            scan: 1,
            returned: BTreeSet::new(),
        }
    }

    /// Sets how the lane is served. Every order is scanned anew.
    pub(super) fn set_opening(&mut self, opening: LaneOpening) {
        if self.opening == opening {
            return;
        }
        self.opening = opening;
        self.permutation = self.draw().map(|draw| Permutation::new(&draw.seed, draw.n));
        self.head = 1;
        self.scan = 1;
        self.returned.clear();
    }

    pub(super) fn draw(&self) -> Option<DrawOrder> {
        match self.opening {
            LaneOpening::Draw(draw) => Some(draw),
            LaneOpening::Fifo | LaneOpening::AwaitBeacon { .. } => None,
        }
    }

    pub(super) fn order_of(&self, number: Number) -> Order {
        self.permutation
            .as_ref()
            .map_or(number, |permutation| permutation.order(number))
    }

    fn number_at(&self, order: Order) -> Number {
        self.permutation
            .as_ref()
            .map_or(order, |permutation| permutation.number(order))
    }

    fn index_of(number: Number) -> Option<usize> {
        usize::try_from(number.checked_sub(1)?).ok()
    }

    pub(super) fn spot(&self, number: Number) -> Option<&Spot> {
        self.spots.get(Self::index_of(number)?)
    }

    /// For times and timers: who stands there, and whether they are there,
    /// changes by [`Lane::put`] and [`Lane::attend`], which count.
    pub(super) fn spot_mut(&mut self, number: Number) -> Option<&mut Spot> {
        self.spots.get_mut(Self::index_of(number)?)
    }

    /// Replaces who stands at an issued number.
    pub(super) fn put(&mut self, number: Number, spot: Spot) {
        let is_absent = spot.is_absent();
        if let Some(current) = self.spot_mut(number) {
            let was_absent = std::mem::replace(current, spot).is_absent();
            self.count_absent(was_absent, is_absent);
        }
    }

    fn count_absent(&mut self, was_absent: bool, is_absent: bool) {
        self.absent += u64::from(is_absent);
        self.absent -= u64::from(was_absent);
    }

    /// Numbers to keep ahead of the joins.
    fn reserve(&self) -> u64 {
        self.join_rate.two_seconds().clamp(RESERVE_MIN, RESERVE_MAX)
    }

    /// What `reserved_to` should be raised to before it is reached.
    pub(super) fn reserve_to(&self) -> Number {
        self.issued + self.reserve()
    }

    /// Half of the reserve is used up.
    pub(super) fn runs_low(&self) -> bool {
        self.issued > 0 && self.reserved_to < self.issued + self.reserve() / 2
    }

    /// Whether a number is there to be issued.
    pub(super) fn may_issue(&self) -> Result<(), Refusal> {
        if self.frozen {
            return Err(Refusal::Opening);
        }
        match self.issued < self.reserved_to {
            true => Ok(()),
            false => Err(Refusal::NumbersExhausted {
                lane: self.index,
                reserve_to: self.reserve_to(),
            }),
        }
    }

    /// Issues the next number to a spot: [`Lane::may_issue`] has allowed it.
    pub(super) fn issue(&mut self, spot: Spot, now: RoomMs) -> Number {
        self.join_rate.count(now);
        self.issued += 1;
        self.waiting += 1;
        self.absent += u64::from(spot.is_absent());
        self.spots.push(spot);
        self.issued
    }

    /// Someone came back, or left the room's sight.
    pub(super) fn attend(&mut self, number: Number, now: Attendance, deadline: Option<RoomMs>) {
        if let Some(Spot::Waiting {
            attendance, timer, ..
        }) = self.spot_mut(number)
        {
            let was_there = std::mem::replace(attendance, now).is_there();
            *timer = deadline;
            self.count_absent(!was_there, !now.is_there());
            self.note_attendance(number, now.is_there());
        }
    }

    /// Keeps `returned` true.
    fn note_attendance(&mut self, number: Number, is_there: bool) {
        let order = self.order_of(number);
        if order >= self.scan {
            return;
        }
        if is_there {
            self.returned.insert(order);
        } else {
            self.returned.remove(&order);
        }
    }

    /// Takes a number out of the line for ever; answers its order.
    pub(super) fn depart(&mut self, number: Number, revision: u64) -> Option<Order> {
        if !self.departed.insert(number) {
            return None;
        }
        self.waiting = self.waiting.saturating_sub(1);
        let page = u32::try_from(number / PAGE_BITS).unwrap_or(u32::MAX);
        self.page_revisions.insert(page, revision);
        let order = self.order_of(number);
        self.returned.remove(&order);
        Some(order)
    }

    /// Every order below it has departed. Behind the lowest that waits only
    /// while it catches up, some steps a call, with many who left together.
    pub(super) fn head(&mut self) -> Order {
        for _step in 0..HEAD_STEPS_MAX {
            if self.head > self.issued || !self.departed.contains(self.number_at(self.head)) {
                break;
            }
            self.head += 1;
        }
        self.head
    }

    /// The eligible place with the lowest order; looks at `budget` orders at
    /// most and takes what it used from it.
    pub(super) fn next_eligible(&mut self, budget: &mut u32) -> Option<Number> {
        if let Some(&order) = self.returned.first() {
            return Some(self.number_at(order));
        }
        while self.scan <= self.issued && *budget > 0 {
            *budget -= 1;
            let number = self.number_at(self.scan);
            if let Some(Spot::Waiting { attendance, .. }) = self.spot(number)
                && attendance.is_there()
            {
                return Some(number);
            }
            self.scan += 1;
        }
        None
    }

    /// The place has been picked: it is not eligible any more.
    pub(super) fn passed(&mut self, number: Number) {
        let order = self.order_of(number);
        self.returned.remove(&order);
    }

    /// [`Lane::absent`] by a walk of the lane.
    pub(super) fn count_absent_anew(&self) -> u64 {
        self.spots.iter().filter(|spot| spot.is_absent()).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: u64 = 100_000;

    fn drawn(departed: impl Iterator<Item = Number>) -> Lane {
        let mut lane = Lane::new(0, REGISTERED, REGISTERED);
        for number in departed {
            lane.depart(number, 1);
        }
        lane.set_opening(LaneOpening::Draw(DrawOrder {
            n: REGISTERED,
            seed: [7; 32],
        }));
        lane
    }

    #[test]
    fn an_opened_draw_passes_those_who_left_in_bounded_steps() {
        let mut lane = drawn(1..=REGISTERED);
        for call in 1..=REGISTERED / u64::from(HEAD_STEPS_MAX) {
            assert_eq!(lane.head(), 1 + call * u64::from(HEAD_STEPS_MAX));
        }
        assert_eq!(lane.head(), REGISTERED + 1);
        assert_eq!(lane.head(), REGISTERED + 1, "one past the last");
    }

    #[test]
    fn an_opened_draw_looks_for_the_next_in_bounded_steps() {
        const STEPS: u32 = 1_000;
        // Nobody is there: every order would be looked at in vain.
        let mut lane = drawn(std::iter::empty());
        assert_eq!(lane.scan, 1, "the opening looked at nobody");
        for call in 1..=3 {
            let mut budget = STEPS;
            assert_eq!(lane.next_eligible(&mut budget), None);
            assert_eq!((budget, lane.scan), (0, 1 + call * u64::from(STEPS)));
        }
        assert!(lane.returned.is_empty());
    }
}
