//! Q6: never more slots than the capacity, nor faster than the rate; Q7: in
//! the order of numbers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::domain::ids::{LaneIndex, RoomId};
use crate::truth::checkers::Violation;
use crate::truth::checkers::sights::{Change, Sight, Sights, possible};
use crate::truth::checkers::turns::{Turn, Turns};
use crate::truth::history::{History, Message, Op, QueueOp, Tolerances};

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
        if sights.is_fifo(room) {
            order(history, room, turns, sights, &mut found);
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

/// Beyond the heartbeat; less than a node's lease lasts.
const STANDSTILL_MS: u64 = 3_000;

/// A stream whose place waited, and was present, from one moment to another.
struct Wait {
    from_ms: u64,
    to_ms: u64,
    number: u64,
    lane: LaneIndex,
    record: usize,
}

/// Q7: nobody behind a place that waits with an open stream is activated
/// meanwhile. A grant may be written late, and so be told after a later one:
/// both borders are moved by that much. While something is broken it may be
/// written as late as that lasts: what is activated then proves nothing.
fn order(
    history: &History,
    room: &RoomId,
    turns: &[&Turn],
    sights: &Sights,
    found: &mut Vec<Violation>,
) {
    let tolerances = &history.tolerances;
    let margin_ms = tolerances.grant_delay_ms + tolerances.clock_leeway_ms;
    let faults: Vec<(u64, u64)> = history
        .faults()
        .map(|(from_ms, to_ms)| (from_ms.saturating_sub(margin_ms), to_ms + margin_ms))
        .collect();
    let is_sound = |ms: u64| !faults.iter().any(|(from, to)| (*from..=*to).contains(&ms));
    let mut lanes: HashMap<LaneIndex, Vec<(u64, &Turn)>> = HashMap::new();
    for turn in turns.iter().filter(|turn| !turn.by_operator) {
        if let Some(ms) = turn.instant_ms.filter(|ms| is_sound(*ms)) {
            lanes.entry(turn.spot.1.lane).or_default().push((ms, turn));
        }
    }
    let lanes: HashMap<_, _> = lanes
        .into_iter()
        .map(|(lane, turns)| (lane, Highest::of(turns)))
        .collect();
    let mut tabs: HashMap<(LaneIndex, u64), usize> = HashMap::new();
    for stream in sights.streams.values().filter(|s| s.spot.0 == *room) {
        let place = &stream.spot.1;
        *tabs.entry((place.lane, place.number)).or_default() += 1;
    }
    for wait in waits(history, room, sights) {
        // A place has one owner: when that node stands still, another of its
        // streams vouches for it only after its lease has run out.
        let has_tabs = tabs.get(&(wait.lane, wait.number)).copied() > Some(1);
        if has_tabs && sights.is_broken(wait.from_ms, wait.to_ms) {
            continue;
        }
        let Some(highest) = lanes.get(&wait.lane) else {
            continue;
        };
        let from_ms = wait.from_ms + margin_ms;
        let to_ms = wait.to_ms.saturating_sub(margin_ms);
        if let Some(turn) = highest.within(from_ms, to_ms)
            && turn.spot.1.number > wait.number
        {
            let text = format!(
                "{room}: number {} was activated while {} waited, present",
                turn.spot.1.number, wait.number
            );
            found.push(Violation::new("Q7", text, [wait.record, turn.record]));
        }
    }
}

/// One wait per stream and epoch: from its first message to its last sight of
/// waiting. A longer silence ends it: the node may have stood still, and then
/// it vouches for nobody.
fn waits(history: &History, room: &RoomId, sights: &Sights) -> Vec<Wait> {
    let by_record: HashMap<usize, &Sight> = sights
        .all
        .iter()
        .filter(|sight| sight.spot.0 == *room && sight.state.waits())
        .map(|sight| (sight.record, sight))
        .collect();
    let mut waits = Vec::new();
    for stream in sights
        .streams
        .values()
        .filter(|stream| stream.spot.0 == *room)
    {
        let mut open: Option<(Wait, u64)> = None;
        let mut heard_by_ms = u64::MAX;
        let mut heartbeat_ms = 0;
        for &index in &stream.messages {
            let record = &history.records[index];
            let Op::Queue(QueueOp::StreamMessage {
                cursor, message, ..
            }) = &record.op
            else {
                continue;
            };
            if let Message::Snapshot {
                heartbeat_interval_ms,
                ..
            } = message
            {
                heartbeat_ms = *heartbeat_interval_ms;
            }
            if record.returned_ms > heard_by_ms {
                waits.extend(open.take().map(|(wait, _)| wait));
            }
            heard_by_ms = record.returned_ms + heartbeat_ms + STANDSTILL_MS;
            let same = |open: &(Wait, u64)| {
                by_record
                    .get(&index)
                    .is_none_or(|sight| sight.spot.1.number == open.0.number)
                    && open.1 == cursor.epoch
            };
            if open.as_ref().is_some_and(|open| !same(open)) {
                waits.extend(open.take().map(|(wait, _)| wait));
            }
            let Some(sight) = by_record.get(&index) else {
                continue;
            };
            let (wait, _) = open.get_or_insert_with(|| {
                let wait = Wait {
                    from_ms: record.returned_ms,
                    to_ms: 0,
                    number: sight.spot.1.number,
                    lane: sight.spot.1.lane,
                    record: index,
                };
                (wait, cursor.epoch)
            });
            wait.to_ms = wait.to_ms.max(sight.held_ms);
        }
        waits.extend(open.map(|(wait, _)| wait));
    }
    waits
}

/// Activations by time, with the highest number in any span: a segment tree.
struct Highest<'a> {
    instants: Vec<u64>,
    tree: Vec<Option<&'a Turn>>,
}

impl<'a> Highest<'a> {
    fn of(mut turns: Vec<(u64, &'a Turn)>) -> Self {
        turns.sort_by_key(|(ms, _)| *ms);
        let leaves = turns.len();
        let mut tree = vec![None; leaves];
        tree.extend(turns.iter().map(|(_, turn)| Some(*turn)));
        for node in (1..leaves).rev() {
            tree[node] = higher(tree[2 * node], tree[2 * node + 1]);
        }
        Self {
            instants: turns.iter().map(|(ms, _)| *ms).collect(),
            tree,
        }
    }

    /// The highest number activated in `from_ms..to_ms`.
    fn within(&self, from_ms: u64, to_ms: u64) -> Option<&'a Turn> {
        let leaves = self.instants.len();
        let mut low = leaves + self.instants.partition_point(|&ms| ms < from_ms);
        let mut high = leaves + self.instants.partition_point(|&ms| ms < to_ms);
        let mut best = None;
        while low < high {
            if low % 2 == 1 {
                best = higher(best, self.tree[low]);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                best = higher(best, self.tree[high]);
            }
            low /= 2;
            high /= 2;
        }
        best
    }
}

fn higher<'a>(one: Option<&'a Turn>, other: Option<&'a Turn>) -> Option<&'a Turn> {
    one.into_iter()
        .chain(other)
        .max_by_key(|turn| turn.spot.1.number)
}
