//! Q12: the contract of one stream; Q13: what is over stays over.

use std::collections::HashMap;

use crate::domain::ids::Cursor;
use crate::truth::checkers::Violation;
use crate::truth::checkers::faults::{Faults, Span};
use crate::truth::checkers::sights::{Sight, Sights, Spot, Stream};
use crate::truth::checkers::turns::is_of_view;
use crate::truth::history::{History, Message, Op, PlaceState, QueueOp, StreamEnd};

pub(super) fn check(history: &History, sights: &Sights) -> Vec<Violation> {
    let mut found = Vec::new();
    for stream in sights.streams.values() {
        let messages = messages(history, stream);
        starts(stream, &messages, &mut found);
        advances(&messages, &mut found);
        speaks(history, &messages, &sights.faults, &mut found);
        tells_of_its_turn(&messages, &mut found);
        ends(stream, &messages, &mut found);
    }
    stays_over(sights, &mut found);
    found
}

struct Heard<'a> {
    record: usize,
    at_ms: u64,
    cursor: Cursor,
    message: &'a Message,
}

fn messages<'a>(history: &'a History, stream: &Stream) -> Vec<Heard<'a>> {
    let heard = |&record: &usize| match &history.records[record].op {
        Op::Queue(QueueOp::StreamMessage {
            cursor, message, ..
        }) => Some(Heard {
            record,
            at_ms: history.records[record].returned_ms,
            cursor: *cursor,
            message,
        }),
        _ => None,
    };
    stream.messages.iter().filter_map(heard).collect()
}

/// The first message is a snapshot, flagged `resumed` only if it goes on from
/// the client's cursor.
fn starts(stream: &Stream, messages: &[Heard], found: &mut Vec<Violation>) {
    let Some(first) = messages.first() else {
        return;
    };
    let Message::Snapshot { resumed, .. } = first.message else {
        let text = "a stream does not begin with a snapshot".to_owned();
        found.push(Violation::new("Q12", text, [stream.opened, first.record]));
        return;
    };
    let goes_on = stream.resume.is_some_and(|resume| {
        resume.epoch == first.cursor.epoch && resume.revision <= first.cursor.revision
    });
    if *resumed && !goes_on {
        let text = format!(
            "a snapshot at {:?} claims to resume {:?}",
            first.cursor, stream.resume
        );
        found.push(Violation::new("Q12", text, [stream.opened, first.record]));
    }
}

/// Cursors never decrease, and rise with each position.
fn advances(messages: &[Heard], found: &mut Vec<Violation>) {
    let mut told: Option<&Heard> = None;
    let mut last: Option<&Heard> = None;
    for heard in messages {
        if let Some(last) = last
            && heard.cursor < last.cursor
        {
            let text = format!("a cursor went from {:?} to {:?}", last.cursor, heard.cursor);
            found.push(Violation::new("Q12", text, [last.record, heard.record]));
        } else if let (Message::Position { .. }, Some(told)) = (heard.message, told)
            && heard.cursor == told.cursor
        {
            let text = format!("a position repeats the cursor {:?}", heard.cursor);
            found.push(Violation::new("Q12", text, [told.record, heard.record]));
        }
        if matches!(
            heard.message,
            Message::Position { .. } | Message::Snapshot { .. }
        ) {
            told = Some(heard);
        }
        last = Some(heard);
    }
}

/// Silence never exceeds the heartbeat interval, but for what was broken.
fn speaks(history: &History, messages: &[Heard], faults: &Faults, found: &mut Vec<Violation>) {
    let Some(Message::Snapshot {
        heartbeat_interval_ms,
        ..
    }) = messages.first().map(|heard| heard.message)
    else {
        return;
    };
    let silence_ms_max = heartbeat_interval_ms + history.tolerances.silence_ms;
    for pair in messages.windows(2) {
        let (from_ms, to_ms) = (pair[0].at_ms, pair[1].at_ms);
        let is_broken = || faults.during(Span::new(from_ms, to_ms));
        if to_ms.saturating_sub(from_ms) > silence_ms_max && !is_broken() {
            let text = format!("a stream was silent for {} ms", to_ms - from_ms);
            found.push(Violation::new(
                "Q12",
                text,
                [pair[0].record, pair[1].record],
            ));
        }
    }
}

/// `activated` follows every snapshot of a turn, before anything of the line;
/// `ended` one of a place that is over, unless the end is forgotten meanwhile.
fn tells_of_its_turn(messages: &[Heard], found: &mut Vec<Violation>) {
    for (index, heard) in messages.iter().enumerate() {
        let Message::Snapshot { seen, .. } = heard.message else {
            continue;
        };
        let next = messages[index + 1..]
            .iter()
            .find(|next| !matches!(next.message, Message::RoomChanged { .. } | Message::Drain));
        let Some(next) = next.filter(|_| !seen.state.waits()) else {
            continue;
        };
        let is_told = match next.message {
            Message::Ended { .. } => true,
            Message::Activated { .. } => seen.state.has_turn(),
            _ => seen.state.is_over() && next.cursor.epoch > heard.cursor.epoch,
        };
        if !is_told {
            let text = "a snapshot of a turn or an end is not followed by it".to_owned();
            found.push(Violation::new("Q12", text, [heard.record, next.record]));
        }
    }
}

/// Q13: `ended` is the last message, and the status is OK.
fn ends(stream: &Stream, messages: &[Heard], found: &mut Vec<Violation>) {
    let ended = |heard: &&Heard| matches!(heard.message, Message::Ended { .. });
    let Some(end) = messages.iter().find(ended) else {
        return;
    };
    if let Message::Ended { state, reason } = end.message
        && reason.state() != *state
    {
        let text = format!("a place ended as {state:?} because of {reason:?}");
        found.push(Violation::new("Q13", text, [end.record]));
    }
    if let Some(after) = messages.iter().find(|heard| heard.record > end.record) {
        let text = "a stream went on after its place had ended".to_owned();
        found.push(Violation::new("Q13", text, [end.record, after.record]));
    }
    if let Some((closed, StreamEnd::Status(status))) = &stream.closed {
        let text = format!("a stream whose place ended was closed with {status}");
        found.push(Violation::new("Q13", text, [end.record, *closed]));
    }
}

/// Q13: a place that a view showed over is never seen alive at a larger cursor.
/// Across epochs this holds for ends of activations only: a waiting place's end
/// may be forgotten if it came in the last second before a loss.
fn stays_over(sights: &Sights, found: &mut Vec<Violation>) {
    let mut over: HashMap<&Spot, &Sight> = HashMap::new();
    let mut turned: HashMap<&Spot, ()> = HashMap::new();
    for sight in &sights.all {
        if sight.state.has_turn() {
            turned.insert(&sight.spot, ());
        }
        if sight.state.is_over() && is_of_view(sight) {
            let first = over.entry(&sight.spot).or_insert(sight);
            if sight.cursor < first.cursor {
                *first = sight;
            }
        }
    }
    let mut reported: HashMap<&Spot, ()> = HashMap::new();
    for sight in sights.all.iter().filter(|sight| !sight.state.is_over()) {
        let Some(end) = over.get(&sight.spot) else {
            continue;
        };
        let lasting = sight.cursor.epoch == end.cursor.epoch || turned.contains_key(&sight.spot);
        if lasting && sight.cursor > end.cursor && reported.insert(&sight.spot, ()).is_none() {
            let text = format!(
                "{}: number {} was over and is {}",
                sight.spot.0,
                sight.spot.1.number,
                state_name(sight.state)
            );
            found.push(Violation::new("Q13", text, [end.record, sight.record]));
        }
    }
}

fn state_name(state: PlaceState) -> &'static str {
    if state.waits() { "waiting" } else { "active" }
}
