//! Q7: nobody is activated while a place with a smaller number waits, present.
//!
//! A stream that tells of waiting vouches for its place. A grant may be written
//! late, and so be told after a later one: both borders of a wait are moved by
//! that much. While something is broken it may be written as late as that
//! lasts: what is activated then proves nothing, and only then. However late a
//! place was told of its own turn: if that began before the other's, the order
//! was kept.
//!
//! A place has one owner, the node that spoke of it last, though several may
//! have streams of it. When that node stands still or dies, the place is passed
//! over once its lease has run out, until another node says that it is there.
//! So the wait of a stream that was not the only one near a fault is cut where
//! the fault and what follows from it lie, and judged before and after.

use std::collections::HashMap;

use crate::domain::ids::{LaneIndex, PlaceKey, RoomId};
use crate::domain::room::leases::LEASE_MS;
use crate::truth::checkers::Violation;
use crate::truth::checkers::faults::{Faults, Span};
use crate::truth::checkers::sights::{Sight, Sights, Spot, Stream};
use crate::truth::checkers::turns::{Turn, Turns};
use crate::truth::history::{History, Message, Op, QueueOp};

/// Beyond the heartbeat; less than a node's lease lasts.
const STANDSTILL_MS: u64 = 3_000;
/// An absence, and the end of a stream, are heard of within so long: each node
/// asks for the room's cursor once a second.
const NOTICED_MS: u64 = 1_000;

pub(super) fn check(history: &History, sights: &Sights, turns: &Turns) -> Vec<Violation> {
    let tolerances = &history.tolerances;
    let margin_ms = tolerances.grant_delay_ms + tolerances.clock_leeway_ms;
    let lanes = lanes(sights, turns, margin_ms);
    let waiting: HashMap<usize, &Sight> = sights
        .all
        .iter()
        .filter(|sight| sight.state.waits())
        .map(|sight| (sight.record, sight))
        .collect();
    let mut tabs: HashMap<&Spot, Vec<&Stream>> = HashMap::new();
    for stream in sights.streams.values() {
        tabs.entry(&stream.spot).or_default().push(stream);
    }
    let own: HashMap<Spot, u64> = turns
        .by_id
        .values()
        .filter_map(|turn| Some((turn.spot.clone(), turn.instant_ms?)))
        .collect();
    let mut found = Vec::new();
    for stream in sights.streams.values() {
        let room = &stream.spot.0;
        let doubts = doubts(history, &sights.faults, stream, &tabs[&stream.spot]);
        for wait in waits(history, stream, &waiting) {
            let Some(highest) = lanes.get(&(room, wait.lane)) else {
                continue;
            };
            let place = PlaceKey {
                lane: wait.lane,
                number: wait.number,
            };
            let own_ms = own.get(&(room.clone(), place)).copied();
            let overtaken = wait.span.without(&doubts).into_iter().find_map(|part| {
                let from_ms = part.from_ms + margin_ms;
                let to_ms = part.to_ms.saturating_sub(margin_ms);
                let to_ms = own_ms.map_or(to_ms, |own_ms| own_ms.min(to_ms));
                let turn = highest.within(from_ms, to_ms)?;
                (turn.spot.1.number > wait.number).then_some(turn)
            });

            if let Some(turn) = overtaken {
                let text = format!(
                    "{room}: number {} was activated while {} waited, present",
                    turn.spot.1.number, wait.number
                );
                found.push(Violation::new("Q7", text, [wait.record, turn.record]));
            }
        }
    }
    found
}

/// The activations of each lane that came in order, if its numbers are orders.
fn lanes<'a>(
    sights: &Sights,
    turns: &'a Turns,
    margin_ms: u64,
) -> HashMap<(&'a RoomId, LaneIndex), Highest<'a>> {
    let broken = sights.faults.all.iter();
    let broken: Vec<Span> = broken
        .map(|fault| fault.with_margins(margin_ms, margin_ms))
        .collect();
    let mut lanes: HashMap<_, Vec<(u64, &Turn)>> = HashMap::new();
    for turn in turns.by_id.values().filter(|turn| !turn.by_operator) {
        if let Some(ms) = turn.instant_ms
            && sights.is_fifo(&turn.spot.0)
            && !broken.iter().any(|span| span.has(ms))
        {
            let lane = (&turn.spot.0, turn.spot.1.lane);
            lanes.entry(lane).or_default().push((ms, turn));
        }
    }
    lanes
        .into_iter()
        .map(|(lane, turns)| (lane, Highest::of(turns)))
        .collect()
}

/// A stream whose place waited, and was present, from one moment to another.
struct Wait {
    span: Span,
    number: u64,
    lane: LaneIndex,
    record: usize,
}

/// When a stream did not vouch for its place, because another's node may have,
/// and was not there: around each fault that another stream of it has met.
fn doubts(history: &History, faults: &Faults, stream: &Stream, tabs: &[&Stream]) -> Vec<Span> {
    let is_other = |tab: &&&Stream| tab.opened != stream.opened;
    let others: Vec<Span> = tabs
        .iter()
        .filter(is_other)
        .map(|tab| tab.open(history).with_margins(0, NOTICED_MS))
        .collect();
    let doubts = faults
        .all
        .iter()
        .map(|fault| fault.with_margins(0, LEASE_MS + NOTICED_MS));
    doubts
        .filter(|doubt| others.iter().any(|other| other.meets(*doubt)))
        .collect()
}

/// One wait per stream and epoch: from its first message to its last sight of
/// waiting. A longer silence ends it: the node may have stood still, and then
/// it vouches for nobody.
fn waits(history: &History, stream: &Stream, waiting: &HashMap<usize, &Sight>) -> Vec<Wait> {
    let mut waits = Vec::new();
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
        let sight = waiting.get(&index);
        let goes_on = |(wait, epoch): &(Wait, u64)| {
            record.returned_ms <= heard_by_ms
                && sight.is_none_or(|sight| sight.spot.1.number == wait.number)
                && *epoch == cursor.epoch
        };
        if open.as_ref().is_some_and(|open| !goes_on(open)) {
            waits.extend(open.take().map(|(wait, _)| wait));
        }
        heard_by_ms = record.returned_ms + heartbeat_ms + STANDSTILL_MS;
        let Some(sight) = sight else {
            continue;
        };
        let (wait, _) = open.get_or_insert_with(|| {
            let wait = Wait {
                span: Span::new(record.returned_ms, 0),
                number: sight.spot.1.number,
                lane: sight.spot.1.lane,
                record: index,
            };
            (wait, cursor.epoch)
        });
        wait.span.to_ms = wait.span.to_ms.max(sight.held_ms);
    }
    waits.extend(open.map(|(wait, _)| wait));
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
