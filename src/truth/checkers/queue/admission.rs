//! Q6: never more slots than the capacity, nor faster than the rate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::domain::ids::RoomId;
use crate::truth::checkers::Violation;
use crate::truth::checkers::sights::{Change, Sights, possible};
use crate::truth::checkers::turns::{Turn, Turns};
use crate::truth::history::{History, Tolerances};

pub(super) fn check(history: &History, sights: &Sights, turns: &Turns) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut rooms: BTreeMap<&RoomId, Vec<&Turn>> = BTreeMap::new();
    for turn in turns.by_id.values() {
        rooms.entry(&turn.spot.0).or_default().push(turn);
    }
    for (room, turns) in &rooms {
        if let Some(changes) = sights.policies.get(*room) {
            capacity(room, turns, changes, &history.tolerances, &mut found);
            rate(room, turns, changes, &history.tolerances, &mut found);
        }
    }
    found
}

/// At the moment an activation was first seen, those that surely hold a slot
/// fit the largest capacity under which it can have been admitted.
fn capacity(
    room: &RoomId,
    turns: &[&Turn],
    changes: &[Change],
    tolerances: &Tolerances,
    found: &mut Vec<Violation>,
) {
    let mut turns = turns.to_vec();
    turns.sort_by_key(|turn| turn.seen_ms);
    let mut holding = BinaryHeap::new();
    for turn in turns {
        let until_ms = turn.holds_until_ms(tolerances.clock_leeway_ms);
        if until_ms < turn.seen_ms {
            continue;
        }
        holding.push(Reverse((until_ms, turn.record)));
        while let Some(Reverse((until_ms, _))) = holding.peek()
            && *until_ms < turn.seen_ms
        {
            holding.pop();
        }
        let allowed = possible(changes, turn.waited_until_ms, turn.seen_ms)
            .map(|policy| policy.capacity)
            .max();
        if allowed.is_some_and(|allowed| holding.len() as u64 > allowed) {
            let text = format!(
                "{room}: {} activations hold a slot at {} ms, capacity {}",
                holding.len(),
                turn.seen_ms,
                allowed.unwrap_or_default()
            );
            let records: Vec<usize> = holding.iter().map(|Reverse((_, record))| *record).collect();
            found.push(Violation::new("Q6", text, records));
            return;
        }
    }
}

/// In every window `w`: activations ≤ rate × (w + tick) + 1. With `f(k)` = the
/// k-th activation's index less what the rate allowed until then, a window
/// from `i` to `j` is too full when `f(j) − f(i)` exceeds the slack.
fn rate(
    room: &RoomId,
    turns: &[&Turn],
    changes: &[Change],
    tolerances: &Tolerances,
    found: &mut Vec<Violation>,
) {
    let mut instants: Vec<(u64, &Turn)> = turns
        .iter()
        .filter(|turn| !turn.by_operator)
        .filter_map(|turn| Some((turn.instant_ms?, *turn)))
        .collect();
    instants.sort_by_key(|(ms, turn)| (*ms, turn.record));
    let fastest = changes
        .iter()
        .map(|change| change.policy.rate_per_s)
        .fold(0.0, f64::max);
    let slack_ms = tolerances.tick_ms + tolerances.grant_delay_ms + tolerances.clock_leeway_ms;
    let slack = fastest * slack_ms as f64 / 1_000.0 + 1.0 + 1e-6;
    let (mut allowed, mut last_ms) = (0.0, None);
    let mut least: Option<(f64, &Turn)> = None;
    for (index, (ms, turn)) in instants.into_iter().enumerate() {
        allowed += last_ms.map_or(0.0, |last_ms| allowance(changes, last_ms, ms));
        last_ms = Some(ms);
        let excess = index as f64 - allowed;
        match least {
            Some((low, first)) if excess - low + 1.0 > slack => {
                let text = format!("{room}: activated faster than its rate until {ms} ms");
                found.push(Violation::new("Q6", text, [first.record, turn.record]));
                return;
            }
            Some((low, _)) if low <= excess => {}
            _ => least = Some((excess, turn)),
        }
    }
}

/// The most activations that the rate allows between two moments.
fn allowance(changes: &[Change], from_ms: u64, to_ms: u64) -> f64 {
    let mut borders: Vec<u64> = changes
        .iter()
        .flat_map(|change| [change.invoked_ms, change.returned_ms])
        .filter(|ms| (from_ms..to_ms).contains(ms))
        .chain([from_ms, to_ms])
        .collect();
    borders.sort_unstable();
    borders
        .windows(2)
        .map(|span| {
            let fastest = possible(changes, span[0], span[1])
                .map(|policy| policy.rate_per_s)
                .fold(0.0, f64::max);
            fastest * (span[1] - span[0]) as f64 / 1_000.0
        })
        .sum()
}
