//! Activations as clients saw them, with the times between which each surely
//! held a slot.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::truth::history::{AdminOp, History, PlaceState, QueueOp, SaleOp};

use super::sights::{Sight, Sights, Source, Spot};

#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub id: ActivationId,
    pub spot: Spot,
    pub user: UserId,
    /// The record that showed it first, and when it was received.
    pub record: usize,
    pub seen_ms: u64,
    /// Its place surely waited until then.
    pub waited_until_ms: u64,
    /// When it was activated, by the database's clock, if that can be told.
    pub instant_ms: Option<u64>,
    pub claim_by_ms: Option<u64>,
    pub expire_ms: Option<u64>,
    /// First evidence that its claim was answered: when it was received.
    pub active_seen_ms: Option<u64>,
    /// The first claim that may have happened.
    pub claim_invoked_ms: Option<u64>,
    /// It may have ended from here on: by a leave, a payment, an operator.
    pub may_end_ms: u64,
    /// It was surely over by then, and a record that says so.
    pub ended_by: Option<(u64, usize)>,
    /// Activated out of turn.
    pub by_operator: bool,
}

impl Turn {
    /// The last time at which it surely held its slot.
    pub fn holds_until_ms(&self, clock_leeway_ms: u64) -> u64 {
        let scheduled = self.expire_ms.or(self.claim_by_ms).unwrap_or(self.seen_ms);
        self.may_end_ms
            .min(scheduled.saturating_sub(clock_leeway_ms))
    }
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    pub by_id: BTreeMap<ActivationId, Turn>,
}

impl Turns {
    pub fn get(&self, id: ActivationId) -> Option<&Turn> {
        self.by_id.get(&id)
    }

    pub fn read(history: &History, sights: &Sights) -> Self {
        let mut turns = Self::default();
        let mut first: HashMap<&Spot, ActivationId> = HashMap::new();
        for sight in sights.all.iter().filter(|sight| sight.state.has_turn()) {
            // A second id for one place is Q8's; here it would only count twice.
            if let Some(id) = sight.activation
                && *first.entry(&sight.spot).or_insert(id) == id
            {
                turns.see(id, sight);
            }
        }
        turns.claims(history);
        let ids: HashMap<Spot, ActivationId> = turns
            .by_id
            .values()
            .map(|turn| (turn.spot.clone(), turn.id))
            .collect();
        turns.grants(history);
        turns.causes(history);
        turns.waits_and_ends(sights, &ids);
        turns.instants(sights);
        turns
    }

    fn see(&mut self, id: ActivationId, sight: &Sight) {
        let turn = self.by_id.entry(id).or_insert_with(|| Turn {
            id,
            spot: sight.spot.clone(),
            user: sight.user.clone(),
            record: sight.record,
            seen_ms: sight.returned_ms,
            waited_until_ms: 0,
            instant_ms: None,
            claim_by_ms: None,
            expire_ms: None,
            active_seen_ms: None,
            claim_invoked_ms: None,
            may_end_ms: u64::MAX,
            ended_by: None,
            by_operator: false,
        });
        if sight.returned_ms < turn.seen_ms {
            (turn.seen_ms, turn.record) = (sight.returned_ms, sight.record);
        }
        turn.claim_by_ms = turn.claim_by_ms.or(sight.claim_by_ms);
        turn.expire_ms = turn.expire_ms.or(sight.expire_ms);
        if sight.state == PlaceState::Active {
            lower(&mut turn.active_seen_ms, sight.returned_ms);
        }
    }

    fn claims(&mut self, history: &History) {
        let mut invoked: HashMap<Spot, u64> = HashMap::new();
        for (_, record, op) in history.queue() {
            let QueueOp::Claim {
                room,
                place,
                answer,
            } = op
            else {
                continue;
            };
            if answer.may_have_happened() {
                let first = invoked
                    .entry((room.clone(), *place))
                    .or_insert(record.invoked_ms);
                *first = record.invoked_ms.min(*first);
            }
            let turn = answer
                .ok()
                .and_then(|seen| self.by_id.get_mut(&seen.activation_id));
            if let (Some(turn), Some(seen)) = (turn, answer.ok()) {
                turn.expire_ms = turn.expire_ms.or(Some(seen.expire_ms));
                lower(&mut turn.active_seen_ms, record.returned_ms);
            }
        }
        for turn in self.by_id.values_mut() {
            turn.claim_invoked_ms = invoked.get(&turn.spot).copied();
        }
    }

    fn grants(&mut self, history: &History) {
        for (_, _, op) in history.admin() {
            if let AdminOp::GrantPlace { room, user, answer } = op
                && answer.may_have_happened()
            {
                // Of an unknown grant the id is not known: none of this user's counts.
                let granted = answer.ok().map(|(_, id)| *id);
                for turn in self.of_user(user, room) {
                    turn.by_operator |= granted.is_none_or(|id| id == turn.id);
                }
            }
        }
    }

    fn waits_and_ends(&mut self, sights: &Sights, ids: &HashMap<Spot, ActivationId>) {
        let mut last_live_ms: HashMap<ActivationId, u64> = HashMap::new();
        for sight in &sights.all {
            let Some(turn) = ids.get(&sight.spot).and_then(|id| self.by_id.get_mut(id)) else {
                continue;
            };
            if sight.state.waits() {
                turn.waited_until_ms = turn.waited_until_ms.max(sight.held_ms);
            } else if sight.state.has_turn() {
                let last = last_live_ms.entry(turn.id).or_insert(turn.seen_ms);
                *last = sight.held_ms.max(*last);
            } else if turn.ended_by.is_none_or(|(ms, _)| sight.returned_ms < ms) {
                turn.ended_by = Some((sight.returned_ms, sight.record));
            }
        }
        for sight in &sights.all {
            let Some(turn) = ids.get(&sight.spot).and_then(|id| self.by_id.get_mut(id)) else {
                continue;
            };
            // An end by someone's hand may have come right after the last sight
            // of life, whoever did it; the others come by the clock.
            let by_hand = match sight.reason {
                Some(reason) => !matches!(reason, EndReason::Unclaimed | EndReason::PassExpired),
                None => matches!(sight.state, PlaceState::Left | PlaceState::Completed),
            };
            // A known cause says more than the last sight of life.
            let explained = turn.may_end_ms <= sight.returned_ms;
            if sight.state.is_over() && by_hand && !explained {
                let last = last_live_ms.get(&turn.id).copied().unwrap_or(turn.seen_ms);
                turn.may_end_ms = turn.may_end_ms.min(last);
            }
        }
    }

    /// Calls that may end a turn before its time.
    fn causes(&mut self, history: &History) {
        let mut passes: HashMap<&ResourceId, ActivationId> = HashMap::new();
        let mut ids: HashMap<Spot, Vec<ActivationId>> = HashMap::new();
        for turn in self.by_id.values() {
            ids.entry(turn.spot.clone()).or_default().push(turn.id);
        }
        for (index, record, op) in history.queue() {
            let QueueOp::Leave {
                room,
                place,
                answer,
            } = op
            else {
                continue;
            };
            let spot = (room.clone(), *place);
            for id in ids.get(&spot).into_iter().flatten() {
                let Some(turn) = self.by_id.get_mut(id) else {
                    continue;
                };
                if answer.may_have_happened() {
                    turn.may_end_ms = turn.may_end_ms.min(record.invoked_ms);
                }
                let first = turn.ended_by.is_none_or(|(ms, _)| record.returned_ms < ms);
                if answer.ok().is_some() && first {
                    turn.ended_by = Some((record.returned_ms, index));
                }
            }
        }
        for (_, record, op) in history.sale() {
            match op {
                SaleOp::Hold { pass, answer, .. } => {
                    if let (Some(pass), Some(seen)) = (pass, answer.ok()) {
                        passes.insert(&seen.id, *pass);
                    }
                }
                SaleOp::Pay {
                    reservation,
                    answer,
                    ..
                } if answer.may_have_happened() => {
                    let completed = passes
                        .get(reservation)
                        .and_then(|id| self.by_id.get_mut(id));
                    if let Some(turn) = completed {
                        turn.may_end_ms = turn.may_end_ms.min(record.invoked_ms);
                    }
                }
                _ => {}
            }
        }
        for (index, record, op) in history.admin() {
            if let AdminOp::RevokePlace { room, user, answer } = op
                && answer.may_have_happened()
            {
                for turn in self.of_user(user, room) {
                    turn.may_end_ms = turn.may_end_ms.min(record.invoked_ms);
                    let was_there = turn.seen_ms < record.invoked_ms;
                    let first = turn.ended_by.is_none_or(|(ms, _)| record.returned_ms < ms);
                    if answer.ok().is_some() && was_there && first {
                        turn.ended_by = Some((record.returned_ms, index));
                    }
                }
            }
        }
    }

    /// Activation times, from the windows that started with them.
    fn instants(&mut self, sights: &Sights) {
        for turn in self.by_id.values_mut().filter(|turn| !turn.by_operator) {
            let Some(changes) = sights.policies.get(&turn.spot.0) else {
                continue;
            };
            let windows = |change: &super::sights::Change| {
                (change.policy.claim_window_ms, change.policy.pass_ttl_ms)
            };
            let Some(first) = changes.first().map(windows) else {
                continue;
            };
            if changes.iter().any(|change| windows(change) != first) {
                continue;
            }
            turn.instant_ms = match first {
                (0, pass_ttl_ms) => turn.expire_ms.and_then(|ms| ms.checked_sub(pass_ttl_ms)),
                (window_ms, _) => turn.claim_by_ms.and_then(|ms| ms.checked_sub(window_ms)),
            };
        }
    }

    fn of_user<'a>(
        &'a mut self,
        user: &'a UserId,
        room: &'a RoomId,
    ) -> impl Iterator<Item = &'a mut Turn> {
        self.by_id
            .values_mut()
            .filter(move |turn| turn.user == *user && turn.spot.0 == *room)
    }
}

/// Whether a sight is one of a node's view, ordered by its cursor.
pub(super) fn is_of_view(sight: &Sight) -> bool {
    sight.source == Source::Stream
}

fn lower(least: &mut Option<u64>, value_ms: u64) {
    *least = Some(least.map_or(value_ms, |ms| ms.min(value_ms)));
}
