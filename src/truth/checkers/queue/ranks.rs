//! Q5: a position is the rank it claims to be, at its cursor.
//!
//! In a FIFO lane the place `n` has the position `n` less the departed before
//! it. So at revision `r` it is at most `n` less the places before it that a
//! stream showed departed by `r`, and at least 1 plus those before it that
//! anyone saw waiting at `r` or later. Both bounds are exact where everyone is
//! watched. A fresh epoch knows the activations of earlier ones, for sure, and
//! no other departure.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{LaneIndex, RoomId};
use crate::truth::checkers::Violation;
use crate::truth::checkers::sights::{Sight, Sights, Spot};
use crate::truth::checkers::turns::is_of_view;

pub(super) fn check(sights: &Sights) -> Vec<Violation> {
    let mut lanes: BTreeMap<(&RoomId, LaneIndex), Vec<&Sight>> = BTreeMap::new();
    for sight in sights
        .all
        .iter()
        .filter(|sight| sights.is_fifo(&sight.spot.0))
    {
        lanes
            .entry((&sight.spot.0, sight.spot.1.lane))
            .or_default()
            .push(sight);
    }
    let mut found = Vec::new();
    for mut lane in lanes.into_values() {
        lane.sort_by_key(|sight| sight.cursor);
        let ranks = Numbers::of(&lane);
        let mut epochs: BTreeMap<u64, Vec<&Sight>> = BTreeMap::new();
        for &sight in &lane {
            epochs.entry(sight.cursor.epoch).or_default().push(sight);
        }
        for epoch in epochs.values() {
            at_most(&lane, epoch, &ranks, &mut found);
            at_least(epoch, &ranks, &mut found);
        }
    }
    found
}

fn at_most(lane: &[&Sight], epoch: &[&Sight], ranks: &Numbers, found: &mut Vec<Violation>) {
    let mut departed = Counter::new(ranks.len());
    let mut counted: HashMap<&Spot, &Sight> = HashMap::new();
    let first = epoch[0].cursor;
    let earlier_turns = lane
        .iter()
        .filter(|sight| sight.cursor.epoch < first.epoch && sight.state.has_turn());
    for sight in earlier_turns {
        if counted.insert(&sight.spot, sight).is_none() {
            departed.add(ranks.rank(sight));
        }
    }
    for group in epoch.chunk_by(|a, b| a.cursor == b.cursor) {
        for sight in group
            .iter()
            .filter(|sight| is_of_view(sight) && !sight.state.waits())
        {
            if counted.insert(&sight.spot, sight).is_none() {
                departed.add(ranks.rank(sight));
            }
        }
        for (sight, position) in positions(group) {
            let number = sight.spot.1.number;
            let before = departed.below(ranks.rank(sight));
            // A position beyond the number itself is Q4's.
            if position <= number && position > number.saturating_sub(before) {
                let text = format!(
                    "{}: number {number} is told position {position}, but {before} before it have departed",
                    sight.spot.0
                );
                found.push(Violation::new("Q5", text, [sight.record]));
            }
        }
    }
}

fn at_least(epoch: &[&Sight], ranks: &Numbers, found: &mut Vec<Violation>) {
    let mut waiting = Counter::new(ranks.len());
    let mut counted: HashMap<&Spot, ()> = HashMap::new();
    let groups: Vec<_> = epoch.chunk_by(|a, b| a.cursor == b.cursor).collect();
    for group in groups.into_iter().rev() {
        for sight in group.iter().filter(|sight| sight.state.waits()) {
            if counted.insert(&sight.spot, ()).is_none() {
                waiting.add(ranks.rank(sight));
            }
        }
        for (sight, position) in positions(group) {
            let before = waiting.below(ranks.rank(sight));
            if position <= before {
                let text = format!(
                    "{}: number {} is told position {position}, but {before} before it still wait",
                    sight.spot.0, sight.spot.1.number
                );
                found.push(Violation::new("Q5", text, [sight.record]));
            }
        }
    }
}

/// Sights that tell a position; what is not positive is reported elsewhere.
fn positions<'a>(group: &'a [&'a Sight]) -> impl Iterator<Item = (&'a Sight, u64)> {
    group.iter().filter_map(|sight| {
        let position = u64::try_from(sight.position?).ok()?;
        (position > 0).then_some((*sight, position))
    })
}

/// The numbers of a lane that were seen, ranked.
struct Numbers(Vec<u64>);

impl Numbers {
    fn of(lane: &[&Sight]) -> Self {
        let mut numbers: Vec<u64> = lane.iter().map(|sight| sight.spot.1.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn rank(&self, sight: &Sight) -> usize {
        self.0
            .partition_point(|&number| number < sight.spot.1.number)
    }
}

/// How many ranks below one were added: a Fenwick tree.
struct Counter(Vec<u64>);

impl Counter {
    fn new(ranks: usize) -> Self {
        Self(vec![0; ranks + 1])
    }

    fn add(&mut self, rank: usize) {
        let mut slot = rank + 1;
        while slot < self.0.len() {
            self.0[slot] += 1;
            slot += slot & slot.wrapping_neg();
        }
    }

    fn below(&self, rank: usize) -> u64 {
        let mut slot = rank;
        let mut sum = 0;
        while slot > 0 {
            sum += self.0[slot];
            slot &= slot - 1;
        }
        sum
    }
}
