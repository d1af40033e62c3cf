//! What must hold, checked by brute force against everything that happened.

mod rates;
mod sale;
mod slots;
pub(super) mod streams;

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{ActivationId, Cursor, LaneIndex, Number, PlaceKey, UserId};
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::room::command::Tick;
use crate::domain::room::{InLine, Room};
use crate::domain::time::UnixMs;
use crate::view::RoomView;

use super::sql::Sql;

/// What one client was told last.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    pub(super) cursor: Cursor,
    pub(super) position: Option<u64>,
    pub(super) activation: Option<ActivationId>,
    pub(super) ended: bool,
    /// Its end was of the epoch in which it was told.
    pub(super) is_ended_now: bool,
    /// Its end was durable when it was told.
    pub(super) is_gone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) violations: Vec<String>,
    issued: BTreeMap<PlaceKey, UserId>,
    /// Of each lane.
    highest: BTreeMap<LaneIndex, Number>,
    /// Places whose end is durable: a row that ended, or a saved page.
    pub(super) gone: BTreeSet<PlaceKey>,
    /// Of these, the ones that an operator ended and the queue does not know.
    pub(super) revoking: BTreeSet<PlaceKey>,
    /// Places whose end a delta told, with the last epoch that did.
    pub(super) ended: BTreeMap<PlaceKey, u64>,
    /// Picks and grants of each lane, as SQL counts them after a loss.
    served: BTreeMap<LaneIndex, u64>,
    /// Who was let in by which code.
    code_owners: BTreeMap<usize, UserId>,
    /// Each user's live place as last answered, with its epoch.
    live: BTreeMap<UserId, (u64, PlaceKey)>,
    rates: rates::Rates,
    answered: sale::Answered,
    /// Slots that were freed, with the epoch of the room.
    freed: BTreeSet<(ActivationId, u64)>,
    /// Rows that ended, and asked for a slot that was not taken yet.
    freed_early: BTreeSet<(ActivationId, u64)>,
    /// Of these, the ones whose slot was taken afterwards.
    taken_late: BTreeSet<(ActivationId, u64)>,
    /// `iat` and `exp` of each activation's passes.
    passes: BTreeMap<ActivationId, (UnixMs, UnixMs)>,
}

impl Oracle {
    pub(super) fn report(&mut self, invariant: &str, what: &str) {
        self.violations.push(format!("{invariant}: {what}"));
    }

    pub(super) fn check(&mut self, holds: bool, invariant: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.report(invariant, &what());
        }
    }

    /// Q1, Q2: a number is new, and above all before it in its lane.
    pub(super) fn number_issued(&mut self, place: PlaceKey, user: &UserId) {
        if let Some(before) = self.issued.get(&place).cloned() {
            self.report("Q1", &format!("{place:?} of {before} issued to {user}"));
        }
        let highest = self.highest.get(&place.lane).copied().unwrap_or(0);
        self.check(place.number > highest, "Q2", || {
            format!("{place:?} issued after {highest}")
        });
        self.highest.insert(place.lane, highest.max(place.number));
        self.issued.insert(place, user.clone());
    }

    /// Q3, Q10: a place that is durably over never waits again, once the queue
    /// has heard of it.
    pub(super) fn place_answered(&mut self, place: PlaceKey, standing: Standing) {
        let is_gone = self.gone.contains(&place) && !self.revoking.contains(&place);
        self.check(!(is_gone && standing == Standing::Waiting), "Q10", || {
            format!("{place:?} waits again after its end")
        });
    }

    /// Q3: two live places of one user are never answered in one epoch.
    pub(super) fn live_place(&mut self, user: &UserId, epoch: u64, place: PlaceKey) {
        if let Some((before_epoch, before)) = self.live.insert(user.clone(), (epoch, place))
            && before_epoch == epoch
            && before != place
            && !self.ended.contains_key(&before)
        {
            self.report(
                "Q3",
                &format!("{user} lives at {before:?} and at {place:?}"),
            );
        }
    }

    /// Q6, Q7 and PAUSED, after a tick picked.
    pub(super) fn ticked(&mut self, room: &Room, tick: &Tick, state: RoomState, sql: &Sql) {
        self.counted(room);
        let fresh = tick.granted.len();
        if fresh == 0 {
            return;
        }
        let counts = room.counts();
        let in_use = counts.granting + counts.activated + counts.active;
        let capacity = sql.policy.capacity;
        self.check(in_use <= capacity.max(self.live_before(sql)), "Q6", || {
            format!("{in_use} slots of {capacity} in use after a pick")
        });
        self.check(state == RoomState::Open, "Q6", || {
            format!("{fresh} picked while {state:?}")
        });
        for lane in self.lanes(sql) {
            self.picked_in_order(room, tick, lane);
        }
        self.lanes_shared(room, tick, sql);
    }

    fn lanes(&self, sql: &Sql) -> std::ops::Range<LaneIndex> {
        0..LaneIndex::try_from(sql.policy.lanes.len()).unwrap_or(LaneIndex::MAX)
    }

    fn picked_in_order(&mut self, room: &Room, tick: &Tick, lane: LaneIndex) {
        let in_lane = |it: &InLine| it.place.lane == lane;
        let last = tick
            .granted
            .iter()
            .filter_map(|granted| {
                room.line()
                    .filter(in_lane)
                    .find(|in_line| in_line.place == granted.place)
                    .map(|in_line| in_line.order)
            })
            .max();
        let first_left = room
            .line()
            .filter(in_lane)
            .filter(|in_line| in_line.is_eligible)
            .map(|in_line| in_line.order)
            .min();
        if let (Some(last), Some(first)) = (last, first_left) {
            self.check(last < first, "Q7", || {
                format!("order {last} of lane {lane} picked before {first}")
            });
        }
    }

    /// Q7 between lanes: a pick is of a lane with the least served ÷ weight, of
    /// those in which someone who is there still waits afterwards.
    fn lanes_shared(&mut self, room: &Room, tick: &Tick, sql: &Sql) {
        let weight = |lane: LaneIndex| u64::from(sql.policy.lanes[usize::from(lane)].weight);
        let waits: Vec<LaneIndex> = self
            .lanes(sql)
            .filter(|lane| {
                room.line()
                    .any(|it| it.place.lane == *lane && it.is_eligible)
            })
            .collect();
        for granted in &tick.granted {
            let picked = granted.place.lane;
            let served = |lane| self.served.get(&lane).copied().unwrap_or(0);
            let is_passed_over = |lane: &&LaneIndex| {
                served(**lane) * weight(picked) < served(picked) * weight(**lane)
            };
            let passed_over = waits.iter().find(is_passed_over).copied();
            self.check(passed_over.is_none(), "Q7", || {
                format!("lane {picked} was served before lane {passed_over:?}")
            });
            *self.served.entry(picked).or_default() += 1;
        }
    }

    /// An operator's grant took a slot: Q6 holds, and its lane was served.
    pub(super) fn slot_granted(&mut self, room: &Room, lane: LaneIndex, capacity: u64) {
        self.counted(room);
        let counts = room.counts();
        let in_use = counts.granting + counts.activated + counts.active;
        self.check(in_use <= capacity, "Q6", || {
            format!("{in_use} slots of {capacity} in use after a grant")
        });
        *self.served.entry(lane).or_default() += 1;
    }

    /// Q15: a code lets in one user, and that one every time.
    pub(super) fn code_shown(&mut self, code: usize, user: &UserId, is_let_in: bool) {
        let owner = self.code_owners.get(&code).cloned();
        let is_theirs = owner.as_ref().is_none_or(|owner| owner == user);
        self.check(is_let_in == is_theirs, "Q15", || {
            format!("code {code} of {owner:?} shown by {user}: let in {is_let_in}")
        });
        if is_let_in {
            self.code_owners.entry(code).or_insert_with(|| user.clone());
        }
    }

    /// Slots that were taken under an earlier, larger capacity.
    fn live_before(&self, sql: &Sql) -> u64 {
        match sql.live().count() as u64 > sql.policy.capacity {
            true => u64::MAX,
            false => 0,
        }
    }

    /// Q6 in SQL, Q8: one row per place, live rows within the capacity.
    pub(super) fn rows_written(&mut self, sql: &Sql, capacity_at_pick: u64) {
        let live = sql.live().count() as u64;
        self.check(live <= capacity_at_pick, "Q6", || {
            format!("{live} live rows, capacity {capacity_at_pick}")
        });
        let places: BTreeSet<PlaceKey> = sql.rows.values().map(|row| row.place).collect();
        self.check(places.len() == sql.rows.len(), "Q8", || {
            "a place has two activation rows".to_owned()
        });
    }

    /// Q4, Q8, Q9, Q13: what a client reads.
    pub(super) fn told(
        &mut self,
        told: &mut Told,
        place: PlaceKey,
        cursor: Cursor,
        standing: Standing,
        position: Option<u64>,
        sql: &Sql,
    ) {
        if cursor < told.cursor {
            return;
        }
        let same_epoch = cursor.epoch == told.cursor.epoch;
        if let (Some(before), Some(now)) = (told.position, position)
            && same_epoch
        {
            self.check(now <= before, "Q4", || format!("position {before} → {now}"));
        }
        self.check(position != Some(0), "Q5", || "position 0".to_owned());
        if let Some(id) = standing.activation_id() {
            self.check(sql.rows.contains_key(&id), "Q9", || {
                "a turn was told that SQL does not know".to_owned()
            });
            self.check(
                told.activation.is_none_or(|before| before == id),
                "Q8",
                || "one place was told two activations".to_owned(),
            );
            told.activation = Some(id);
        }
        let was_activated = told.activation.is_some();
        self.check(
            !(was_activated && standing == Standing::Waiting),
            "Q8",
            || "a place waits after its turn was told".to_owned(),
        );
        // A loss may forget an end that no row and no saved page remembers.
        let ended_here = same_epoch && told.is_ended_now && cursor.epoch == sql.epoch;
        let is_final = told.is_gone || ended_here;
        self.check(!(is_final && standing.is_live()), "Q13", || {
            format!("{standing:?} at {cursor:?} after its end was told: {told:?}")
        });
        told.ended = !standing.is_live();
        let ended_now = self.ended.get(&place) == Some(&cursor.epoch);
        told.is_ended_now = told.ended && ended_now;
        let row = sql.row_of.get(&place).and_then(|id| sql.rows.get(id));
        let has_turn = row.is_some_and(|row| row.standing.is_live());
        told.is_gone = told.ended && self.gone.contains(&place) && !has_turn;
        told.cursor = cursor;
        told.position = position;
    }

    /// Q5: where a view stands where the room stands, positions are exact.
    pub(super) fn positions(&mut self, room: &Room, view: &RoomView) {
        let mut line: Vec<_> = room.line().collect();
        line.sort_by_key(|in_line| (in_line.place.lane, in_line.order));
        for lane in line.chunk_by(|one, other| one.place.lane == other.place.lane) {
            for (truth, in_line) in (1..).zip(lane) {
                let said = view.position(in_line.place);
                if said != truth {
                    let place = in_line.place;
                    self.report("Q5", &format!("{place:?} at {truth} is told {said}"));
                    return;
                }
            }
        }
    }

    /// What is counted as things happen is what a walk of the room finds.
    fn counted(&mut self, room: &Room) {
        let (counts, anew) = (room.counts(), room.count_anew());
        self.check(counts == anew, "counts", || {
            format!("{counts:?}, but {anew:?}")
        });
    }

    /// Q10: an end by absence before the grace was over.
    pub(super) fn absent_end(&mut self, away_ms: u64, grace_ms: u64) {
        self.check(away_ms >= grace_ms, "Q10", || {
            format!("lapsed after {away_ms} ms of {grace_ms}")
        });
    }

    /// Q9: what was told ACTIVE is live in SQL until its time.
    pub(super) fn recovered(&mut self, room: &Room, sql: &Sql) {
        let live = sql.live().count() as u64;
        let counts = room.counts();
        self.check(counts.activated + counts.active == live, "Q9", || {
            format!(
                "{live} live rows, {} slots",
                counts.activated + counts.active
            )
        });
        self.forget_rates();
        self.revoking.clear();
        let lanes = self.lanes(sql);
        self.served = lanes.map(|lane| (lane, sql.served(lane))).collect();
    }

    /// Which state changes of a place count as covered.
    pub(super) fn end_name(reason: EndReason) -> &'static str {
        match reason {
            EndReason::Unclaimed => "state: to expired unclaimed",
            EndReason::Absent => "state: to expired absent",
            EndReason::PassExpired => "state: to expired pass",
            EndReason::Left => "state: to left",
            EndReason::Completed => "state: active to completed",
            EndReason::RoomClosed => "state: to expired room closed",
            EndReason::Merged => "state: merged",
            EndReason::Revoked => "state: revoked",
        }
    }
}
