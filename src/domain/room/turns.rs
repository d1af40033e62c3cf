//! Whose turn it is: picking, confirming, claiming, freeing.
//!
//! A tick only *picks* (moves places to `granting`, takes the slots) and
//! *proposes* ends; the rows in SQL decide, and `confirm` and `free` bring the
//! decision back. So a crash between the two loses nothing: what stays in
//! `granting` is handed out again, what stays due is proposed again.

use crate::domain::ids::{ActivationId, Incarnation, Number, PlaceKey};
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::time::{RoomMs, UnixMs};

use super::command::{Confirm, Granted, LowNumbers, Tick};
use super::lane::Spot;
use super::{Room, STEPS_PER_TICK_MAX, TICK_MS};

/// Places one tick picks at most: one SQL transaction, and a few milliseconds of
/// Redis, which serves nobody else meanwhile. Whoever ticks goes on at once.
pub const GRANT_BATCH_MAX: usize = 128;
/// After so long without an answer a pick or a proposal is handed out again.
pub const HAND_OUT_AGAIN_MS: u64 = 1_000;

/// A slot in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) place: PlaceKey,
    pub(super) standing: Standing,
    pub(super) due_at: RoomMs,
}

impl Slot {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Active { .. })
    }
}

/// Token bucket of activations. It holds one tick of tokens and one more, so
/// that in every window `w` at most `rate × (w + tick) + 1` are taken.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { tokens: 1.0 }
    }
}

impl Bucket {
    #[expect(clippy::cast_precision_loss, reason = "steps are at most 1,000 ms")]
    fn refill(&mut self, step_ms: u64, rate_per_s: f64) {
        let cap = rate_per_s * (TICK_MS as f64) / 1_000.0 + 1.0;
        self.tokens = (self.tokens + rate_per_s * (step_ms as f64) / 1_000.0).min(cap);
    }

    fn has_token(&self) -> bool {
        self.tokens >= 1.0
    }

    fn take(&mut self) {
        self.tokens -= 1.0;
    }
}

impl Room {
    /// Advances time, lapses, picks, proposes. `node`, if it says who it is,
    /// renews its lease. Publish afterwards if [`Room::publish_is_due`].
    pub fn tick(&mut self, now: UnixMs, node: Option<Incarnation>) -> Tick {
        let step_ms = self.clock.tick(now);
        self.refill(step_ms);
        if let Some(node) = node {
            self.renew(node);
        }
        self.end_rebuild_if_due();
        let has_more = self.lapse();
        let mut granted = self.unanswered();
        self.pick(&mut granted);
        Tick {
            version: self.version,
            cursor: self.cursor,
            granted,
            due: self.propose(),
            low_numbers: self.low_numbers(),
            quiet: self.is_quiet(),
            has_more,
        }
    }

    /// Lets time pass. Every step does it first, so that no step's time is lost
    /// to the bucket.
    pub(super) fn advance(&mut self, now: UnixMs) {
        let step_ms = self.clock.advance(now);
        self.refill(step_ms);
    }

    fn refill(&mut self, step_ms: u64) {
        self.bucket.refill(step_ms, self.rate_in_effect());
    }

    /// Whether a delta may be published now.
    #[must_use]
    pub fn publish_is_due(&self) -> bool {
        self.cursor.revision == 0 || self.clock.now().since_ms(self.published_at) >= TICK_MS
    }

    /// Picks of which nobody brought the rows back in time.
    fn unanswered(&mut self) -> Vec<Granted> {
        let now = self.clock.now();
        let mut again = Vec::new();
        for place in &self.granting {
            let lane = &mut self.lanes[usize::from(place.lane)];
            if let Some(Spot::Granting { user, asked_at, .. }) = lane.spot_mut(place.number)
                && now.since_ms(*asked_at) >= HAND_OUT_AGAIN_MS
                && again.len() < GRANT_BATCH_MAX
            {
                *asked_at = now;
                again.push(Granted {
                    place: *place,
                    user: user.clone(),
                });
            }
        }
        again
    }

    fn pick(&mut self, granted: &mut Vec<Granted>) {
        if self.state() != RoomState::Open || self.rebuild_until.is_some() {
            return;
        }
        let mut budget = STEPS_PER_TICK_MAX;
        while self.slots_in_use() < self.policy.capacity
            && self.bucket.has_token()
            && granted.len() < GRANT_BATCH_MAX
        {
            let Some(place) = self.next_place(&mut budget) else {
                break;
            };
            self.stop_timer(place);
            let asked_at = self.clock.now();
            let lane = &mut self.lanes[usize::from(place.lane)];
            let Some(Spot::Waiting { user, .. }) = lane.spot(place.number) else {
                break;
            };
            let user = user.clone();
            lane.served += 1;
            lane.passed(place.number);
            self.set_spot(
                place,
                Spot::Granting {
                    user: user.clone(),
                    asked_at,
                    left: false,
                },
            );
            self.bucket.take();
            self.note_pick();
            self.granting.insert(place);
            granted.push(Granted { place, user });
        }
    }

    /// The next place of the non-empty lane with the least served ÷ weight.
    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    fn next_place(&mut self, budget: &mut u32) -> Option<PlaceKey> {
        let mut best: Option<(f64, PlaceKey)> = None;
        for index in 0..self.lanes.len().min(self.policy.lanes.len()) {
            let weight = self.policy.lanes[index].weight.max(1);
            let lane = &self.lanes[index];
            let (share, lane) = (lane.served as f64 / f64::from(weight), lane.index);
            if best.is_some_and(|(least, _)| least <= share) {
                continue;
            }
            if let Some(number) = self.next_eligible(index, budget) {
                best = Some((share, PlaceKey { lane, number }));
            }
        }
        best.map(|(_, place)| place)
    }

    /// The first of a lane for whom someone vouches. Those whose node is gone
    /// are absent from now on.
    fn next_eligible(&mut self, index: usize, budget: &mut u32) -> Option<Number> {
        loop {
            let lane = &mut self.lanes[index];
            let number = lane.next_eligible(budget)?;
            let place = PlaceKey {
                lane: lane.index,
                number,
            };
            let Some(&Spot::Waiting { attendance, .. }) = lane.spot(number) else {
                return None;
            };
            if self.is_there(attendance) {
                return Some(number);
            }
            *budget = budget.checked_sub(1)?;
            self.miss(place);
        }
    }

    fn propose(&mut self) -> Vec<ActivationId> {
        let now = self.clock.now();
        let mut due = Vec::new();
        while let Some(&(at, id)) = self.due.first()
            && at <= now
            && due.len() < GRANT_BATCH_MAX
        {
            self.due.pop_first();
            self.set_due(id, now.plus_ms(HAND_OUT_AGAIN_MS));
            due.push(id);
        }
        due
    }

    fn set_due(&mut self, id: ActivationId, at: RoomMs) {
        if let Some(slot) = self.slots.get_mut(&id) {
            self.due.remove(&(slot.due_at, id));
            slot.due_at = at;
            self.due.insert((at, id));
        }
    }

    fn low_numbers(&self) -> Vec<LowNumbers> {
        self.lanes
            .iter()
            .filter(|lane| lane.runs_low())
            .map(|lane| LowNumbers {
                lane: lane.index,
                reserve_to: lane.reserve_to(),
            })
            .collect()
    }

    /// The rows of these places are committed. Answers those whose user left
    /// while they were written.
    pub fn confirm(&mut self, rows: &[Confirm], now: UnixMs) -> Vec<ActivationId> {
        self.advance(now);
        let mut left_meanwhile = Vec::new();
        for row in rows {
            let Some(id) = row.standing.activation_id() else {
                self.confirm_ended(row);
                continue;
            };
            if self.slots.contains_key(&id) {
                continue;
            }
            let left = match self.spot(row.place) {
                Some(Spot::Granting { left, .. }) => *left,
                Some(Spot::Waiting { .. } | Spot::Unclaimed) => false,
                Some(Spot::Turn { .. } | Spot::Ended { .. }) | None => continue,
            };
            self.counts.activations_total += 1;
            if left {
                self.seat(row);
                self.end_spot(row.place, Some(id), EndReason::Left, None);
                left_meanwhile.push(id);
            } else {
                self.give_turn(row);
                self.pending.activated.push((row.place, row.standing));
            }
            self.pending.is_dirty = true;
        }
        left_meanwhile
    }

    /// Seats a row as its user's live place; an activation wins over another
    /// place that waits.
    pub(super) fn give_turn(&mut self, row: &Confirm) {
        if let Some(other) = self.users.insert(row.user.clone(), row.place)
            && other != row.place
            && matches!(self.spot(other), Some(Spot::Waiting { .. }))
        {
            self.depart(other, EndReason::Merged, Some(row.place));
        }
        self.seat(row);
    }

    /// The row was written long ago and is over: the place takes no slot.
    fn confirm_ended(&mut self, row: &Confirm) {
        let Standing::Ended(reason) = row.standing else {
            return;
        };
        if let Some(Spot::Granting { .. } | Spot::Waiting { .. } | Spot::Unclaimed) =
            self.spot(row.place)
        {
            self.granting.remove(&row.place);
            self.depart(row.place, reason, None);
        }
    }

    /// An ACTIVATED row became ACTIVE, perhaps before anyone confirmed it.
    pub fn claim(&mut self, row: &Confirm, now: UnixMs) {
        self.advance(now);
        let Some(id) = row.standing.activation_id() else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&id) else {
            self.confirm(std::slice::from_ref(row), now);
            return;
        };
        if slot.is_active() {
            return;
        }
        slot.standing = row.standing;
        self.counts.active += u64::from(slot.is_active());
        let due_at = self.clock.now().plus_ms(row.remaining_ms);
        self.set_due(id, due_at);
        self.pending.claimed.push((row.place, row.standing));
        self.pending.is_dirty = true;
    }

    /// The database did not agree that this slot is over.
    pub fn rearm(&mut self, id: ActivationId, remaining_ms: u64, now: UnixMs) {
        self.advance(now);
        self.set_due(id, self.clock.now().plus_ms(remaining_ms.max(1)));
    }

    /// The row has ended: the slot goes back to the room, once.
    pub fn free(&mut self, id: ActivationId, reason: EndReason, now: UnixMs) {
        self.advance(now);
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        self.due.remove(&(slot.due_at, id));
        self.counts.active -= u64::from(slot.is_active());
        if reason == EndReason::Unclaimed {
            self.counts.unclaimed_total += 1;
        }
        self.end_spot(slot.place, Some(id), reason, None);
        self.pending.is_dirty = true;
    }
}
