//! One waiting room as a pure machine: `step(command, now) -> answer`.
//!
//! Mechanism. Every step first advances room time ([`RoomClock`]), then changes
//! lanes, slots and attendance, and notes what changed in a pending delta. The
//! first [`Room::tick`] after [`TICK_MS`], or a confirm, raises the revision
//! and seals the pending changes as one [`RoomDelta`].
//!
//! Invariants: a number is issued once; a place departs once and never returns;
//! `granting` + slots never exceed the capacity when a place is picked; every
//! change is in exactly one delta.
//!
//! The parts: [`line`] joins, restores, merges, leaves; [`attendance`] absence
//! and lapses; [`leases`] nodes that are gone; [`turns`] picks, confirms,
//! claims, frees; [`steering`] at which rate; [`lane`] who is next; [`grant`]
//! and [`counts`] for operators.

mod attendance;
pub mod command;
mod counts;
pub mod grant;
mod lane;
pub mod leases;
mod line;
mod settings;
pub mod steering;
#[cfg(test)]
mod tests;
mod turns;

pub use self::lane::{RESERVE_MAX, RESERVE_MIN};
pub use self::turns::{GRANT_BATCH_MAX, HAND_OUT_AGAIN_MS};

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use self::attendance::Sweep;
use self::command::{Confirm, DepartedPage, LaneInit, LaneOpening, Refusal, RoomCounts, RoomInit};
use self::lane::{Lane, Spot};
use self::leases::Leases;
use self::steering::Steering;
use self::turns::{Bucket, Slot};
use super::delta::{LaneDelta, LaneSnapshot, PlaceEnded, RoomDelta, RoomFacts, RoomSnapshot};
use super::ids::{ActivationId, Cursor, LaneIndex, Number, Order, PlaceKey, UserId};
use super::place::{EndReason, RoomState, RoomSwitches, Standing};
use super::policy::RoomPolicy;
use super::time::{RoomClock, RoomMs, UnixMs};

/// Deltas are published at most this often, but for confirms.
pub const TICK_MS: u64 = 100;
/// Deltas kept for readers with a gap.
pub const LOG_DELTAS_MAX: usize = 512;
/// Orders or numbers one tick looks at: milliseconds, however many are absent.
pub const STEPS_PER_TICK_MAX: u32 = 20_000;

/// Changes since the last delta.
#[derive(Debug, Default)]
struct Pending {
    is_dirty: bool,
    departed: BTreeMap<LaneIndex, Vec<u64>>,
    absent: Vec<PlaceKey>,
    activated: Vec<(PlaceKey, Standing)>,
    claimed: Vec<(PlaceKey, Standing)>,
    ended: Vec<PlaceEnded>,
}

/// A waiting place, as an audit sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InLine {
    pub place: PlaceKey,
    pub order: Order,
    /// Someone vouches for it, and it has not been picked.
    pub is_eligible: bool,
}

#[derive(Debug)]
pub struct Room {
    cursor: Cursor,
    policy: Arc<RoomPolicy>,
    switches: RoomSwitches,
    /// Of the row that both are from.
    version: u64,
    clock: RoomClock,
    lanes: Vec<Lane>,
    /// Each user's live place.
    users: HashMap<UserId, PlaceKey>,
    /// ACTIVATED and ACTIVE places.
    slots: HashMap<ActivationId, Slot>,
    /// When to propose each slot's end.
    due: BTreeSet<(RoomMs, ActivationId)>,
    granting: BTreeSet<PlaceKey>,
    bucket: Bucket,
    steering: Option<Steering>,
    /// When a call stops vouching, or an absence lapses.
    timers: BTreeSet<(RoomMs, PlaceKey)>,
    leases: Leases,
    /// Absences before it count from it; `None` until the room opens.
    grace_from: Option<RoomMs>,
    sweep: Option<Sweep>,
    rebuild_until: Option<RoomMs>,
    pending: Pending,
    published_at: RoomMs,
    log: VecDeque<Arc<RoomDelta>>,
    counts: RoomCounts,
}

impl Room {
    /// Builds the room of an epoch from what SQL knows. Every other number up
    /// to a lane's `issued_to` is waiting and absent.
    #[must_use]
    pub fn init(epoch: u64, init: RoomInit, now: UnixMs) -> Self {
        let lanes: Vec<Lane> = (0..).zip(&init.lanes).map(Self::init_lane).collect();
        let mut room = Self {
            cursor: Cursor { epoch, revision: 0 },
            bucket: Bucket::default(),
            steering: None,
            policy: init.policy,
            switches: init.switches,
            version: init.version,
            clock: RoomClock::starting(now),
            lanes,
            users: HashMap::new(),
            slots: HashMap::new(),
            due: BTreeSet::new(),
            granting: BTreeSet::new(),
            timers: BTreeSet::new(),
            leases: Leases::default(),
            grace_from: None,
            sweep: None,
            rebuild_until: None,
            pending: Pending::default(),
            published_at: RoomMs(0),
            log: VecDeque::new(),
            counts: RoomCounts::default(),
        };
        for place in init.ended {
            room.depart(place, EndReason::Completed, None);
        }
        for row in init.live {
            room.give_turn(&row);
        }
        room.pending = Pending::default();
        let someone_may_return = room.lanes.iter().any(|lane| lane.waiting > 0);
        if someone_may_return && init.rebuild_pause_ms > 0 {
            room.rebuild_until = Some(RoomMs(init.rebuild_pause_ms));
        } else {
            room.start_grace();
        }
        room
    }

    fn init_lane((index, init): (LaneIndex, &LaneInit)) -> Lane {
        let mut lane = Lane::new(index, init.issued_to, init.reserved_to);
        lane.served = init.served;
        lane.set_opening(init.opening.unwrap_or(LaneOpening::Fifo));
        for page in &init.departed {
            for number in page.numbers().filter(|number| *number <= init.issued_to) {
                if lane.depart(number, 0).is_some() {
                    let ended = Spot::Ended {
                        reason: EndReason::Absent,
                        survivor: None,
                    };
                    lane.put(number, ended);
                }
            }
        }
        lane
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    #[must_use]
    pub fn state(&self) -> RoomState {
        self.switches.state()
    }

    /// No live place and no slot: nothing happens until someone acts.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let nobody_waits = self.switches.closed || self.lanes.iter().all(|lane| lane.waiting == 0);
        nobody_waits && self.slots_in_use() == 0 && !self.pending.is_dirty
    }

    fn slots_in_use(&self) -> u64 {
        (self.granting.len() + self.slots.len()) as u64
    }

    fn lane_mut(&mut self, lane: LaneIndex) -> Result<&mut Lane, Refusal> {
        self.lanes
            .get_mut(usize::from(lane))
            .ok_or(Refusal::UnknownPlace)
    }

    fn spot(&self, place: PlaceKey) -> Option<&Spot> {
        self.lanes.get(usize::from(place.lane))?.spot(place.number)
    }

    fn set_spot(&mut self, place: PlaceKey, spot: Spot) {
        if let Some(lane) = self.lanes.get_mut(usize::from(place.lane)) {
            lane.put(place.number, spot);
        }
    }

    /// How a spot stands to its user.
    fn standing_of(&self, spot: &Spot) -> Standing {
        match spot {
            Spot::Unclaimed | Spot::Waiting { .. } if self.switches.closed => {
                Standing::Ended(EndReason::RoomClosed)
            }
            Spot::Unclaimed | Spot::Waiting { .. } => Standing::Waiting,
            Spot::Granting { left: true, .. } => Standing::Ended(EndReason::Left),
            Spot::Granting { .. } => Standing::Waiting,
            Spot::Turn { id, .. } => self
                .slots
                .get(id)
                .map_or(Standing::Ended(EndReason::Completed), |slot| slot.standing),
            Spot::Ended { reason, .. } => Standing::Ended(*reason),
        }
    }

    /// Takes a place out of the line and notes it for the next delta.
    fn depart(&mut self, place: PlaceKey, reason: EndReason, survivor: Option<PlaceKey>) {
        self.leave_line(place);
        self.end_spot(place, None, reason, survivor);
        self.counts.departures_total += 1;
    }

    /// The line's part of a departure: order, timers, attendance.
    fn leave_line(&mut self, place: PlaceKey) {
        self.stop_timer(place);
        let revision = self.cursor.revision + 1;
        let Ok(lane) = self.lane_mut(place.lane) else {
            return;
        };
        if let Some(order) = lane.depart(place.number, revision) {
            self.pending
                .departed
                .entry(place.lane)
                .or_default()
                .push(order);
            self.pending.is_dirty = true;
        }
    }

    /// The user's part of an end: the spot, the live place, the news.
    fn end_spot(
        &mut self,
        place: PlaceKey,
        activation_id: Option<ActivationId>,
        reason: EndReason,
        survivor: Option<PlaceKey>,
    ) {
        let user = match self.spot(place) {
            Some(
                Spot::Waiting { user, .. } | Spot::Granting { user, .. } | Spot::Turn { user, .. },
            ) => Some(user.clone()),
            Some(Spot::Unclaimed) => None,
            Some(Spot::Ended { .. }) | None => return,
        };
        if let Some(user) = user
            && self.users.get(&user) == Some(&place)
        {
            self.users.remove(&user);
        }
        self.set_spot(place, Spot::Ended { reason, survivor });
        self.pending.ended.push(PlaceEnded {
            place,
            activation_id,
            reason,
            survivor,
        });
        self.pending.is_dirty = true;
    }

    /// Stops issuing numbers; answers the highest of each lane.
    pub fn freeze(&mut self) -> Vec<Number> {
        for lane in &mut self.lanes {
            lane.frozen = true;
        }
        self.lanes.iter().map(|lane| lane.issued).collect()
    }

    /// Opens the lanes; the room is OPEN once none awaits its beacon.
    pub fn open(&mut self, lanes: &[LaneOpening], now: UnixMs) {
        self.advance(now);
        if self.switches.opened {
            return;
        }
        for (lane, opening) in self.lanes.iter_mut().zip(lanes) {
            lane.frozen = false;
            lane.set_opening(*opening);
        }
        let awaits_beacon = lanes
            .iter()
            .any(|lane| matches!(lane, LaneOpening::AwaitBeacon { .. }));
        if !awaits_beacon {
            self.switches.opened = true;
            self.bucket = Bucket::default();
            // A rebuild that is not over starts the grace at its own end.
            if self.rebuild_until.is_none() {
                self.start_grace();
            }
        }
        self.pending.is_dirty = true;
    }

    /// Allows numbers up to `reserved_to`.
    ///
    /// # Errors
    /// [`Refusal::UnknownPlace`] for a lane the room does not have.
    pub fn reserve(&mut self, lane: LaneIndex, reserved_to: Number) -> Result<(), Refusal> {
        let lane = self.lane_mut(lane)?;
        lane.reserved_to = lane.reserved_to.max(reserved_to);
        Ok(())
    }

    fn facts(&self) -> RoomFacts {
        RoomFacts {
            rebuilding: self.rebuild_until.is_some(),
            rate_per_s: self.rate_in_effect(),
            slots_in_use: self.slots_in_use(),
            granting: match self.switches.closed {
                true => self.granting.iter().copied().collect(),
                false => Vec::new(),
            },
            ..RoomFacts::configured(&self.policy, &self.switches)
        }
    }

    /// Raises the revision and seals the pending changes, if there are any.
    pub fn publish(&mut self) -> Option<Arc<RoomDelta>> {
        if !self.pending.is_dirty {
            return None;
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.cursor.revision += 1;
        self.published_at = self.clock.now();
        let lanes = self
            .lanes
            .iter_mut()
            .map(|lane| LaneDelta {
                lane: lane.index,
                head: lane.head(),
                tail: lane.issued,
                departed: pending.departed.remove(&lane.index).unwrap_or_default(),
                draw: lane.draw(),
            })
            .collect();
        let delta = Arc::new(RoomDelta {
            cursor: self.cursor,
            published_at: self.clock.server_now(),
            facts: self.facts(),
            lanes,
            absent: pending.absent,
            activated: pending.activated,
            claimed: pending.claimed,
            ended: pending.ended,
        });
        if self.log.len() == LOG_DELTAS_MAX {
            self.log.pop_front();
        }
        self.log.push_back(Arc::clone(&delta));
        Some(delta)
    }

    /// The whole state as of the last delta. Publish first.
    #[must_use]
    pub fn snapshot(&mut self) -> RoomSnapshot {
        let facts = self.facts();
        RoomSnapshot {
            cursor: self.cursor,
            policy: Arc::clone(&self.policy),
            facts,
            lanes: self
                .lanes
                .iter_mut()
                .map(|lane| LaneSnapshot {
                    lane: lane.index,
                    head: lane.head(),
                    tail: lane.issued,
                    draw: lane.draw(),
                    departed_numbers: lane.departed.clone(),
                })
                .collect(),
            live: self
                .slots
                .values()
                .map(|slot| (slot.place, slot.standing))
                .collect(),
        }
    }

    /// Deltas after `cursor`; `None` if some are no longer kept.
    #[must_use]
    pub fn deltas_since(&self, cursor: Cursor) -> Option<Vec<Arc<RoomDelta>>> {
        if cursor.epoch != self.cursor.epoch || cursor.revision > self.cursor.revision {
            return None;
        }
        let missing = usize::try_from(self.cursor.revision - cursor.revision).ok()?;
        let skip = self.log.len().checked_sub(missing)?;
        Some(self.log.iter().skip(skip).cloned().collect())
    }

    /// Pages of departed numbers changed after `revision`.
    #[must_use]
    pub fn departed_pages(&self, revision: u64) -> (u64, Vec<DepartedPage>) {
        let pages = self.lanes.iter().flat_map(|lane| {
            lane.page_revisions
                .iter()
                .filter(move |(_, changed)| **changed > revision)
                .map(|(page, _)| DepartedPage {
                    lane: lane.index,
                    page: *page,
                    bits: lane.departed.page_bytes(*page),
                })
        });
        (self.cursor.revision, pages.collect())
    }

    /// Room time.
    #[must_use]
    pub fn now(&self) -> RoomMs {
        self.clock.now()
    }

    /// Everyone in line, lane by lane. Walks the room: for audits.
    pub fn line(&self) -> impl Iterator<Item = InLine> + '_ {
        self.lanes.iter().flat_map(move |lane| {
            (1..=lane.issued).filter_map(move |number| {
                let is_eligible = match lane.spot(number)? {
                    Spot::Unclaimed => false,
                    Spot::Waiting { attendance, .. } => self.is_there(*attendance),
                    Spot::Granting { .. } => false,
                    Spot::Turn { .. } | Spot::Ended { .. } => return None,
                };
                Some(InLine {
                    place: PlaceKey {
                        lane: lane.index,
                        number,
                    },
                    order: lane.order_of(number),
                    is_eligible,
                })
            })
        })
    }

    /// Gives a committed activation its slot and takes its place out of line.
    fn seat(&mut self, row: &Confirm) {
        let Some(id) = row.standing.activation_id() else {
            return;
        };
        self.leave_line(row.place);
        self.granting.remove(&row.place);
        self.set_spot(
            row.place,
            Spot::Turn {
                user: row.user.clone(),
                id,
            },
        );
        let due_at = self.clock.now().plus_ms(row.remaining_ms);
        self.due.insert((due_at, id));
        let slot = Slot {
            place: row.place,
            standing: row.standing,
            due_at,
        };
        self.counts.active += u64::from(slot.is_active());
        if let Some(before) = self.slots.insert(id, slot) {
            self.counts.active -= u64::from(before.is_active());
        }
    }
}
