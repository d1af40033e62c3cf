//! Finding and changing records of a history.

use crate::domain::ids::Cursor;
use crate::truth::history::{History, Message, Op, QueueOp, Record, SaleOp};

use super::clean::user;

/// Indexes of a user's records that fit, in order.
pub(super) fn all(history: &History, who: &str, fits: impl Fn(&Op) -> bool) -> Vec<usize> {
    let who = user(who);
    let fitting = |(_, record): &(usize, &Record)| record.user == who && fits(&record.op);
    let records = history.records.iter().enumerate();
    records.filter(fitting).map(|(index, _)| index).collect()
}

/// The first of a user's records that fits.
pub(super) fn first(history: &History, who: &str, fits: impl Fn(&Op) -> bool) -> usize {
    *all(history, who, fits).first().expect("a clean history")
}

/// The last of a user's records that fits.
pub(super) fn last(history: &History, who: &str, fits: impl Fn(&Op) -> bool) -> usize {
    *all(history, who, fits).last().expect("a clean history")
}

/// The message in an operation.
pub(super) fn message(op: &Op) -> Option<&Message> {
    match op {
        Op::Queue(QueueOp::StreamMessage { message, .. }) => Some(message),
        _ => None,
    }
}

/// A message's record, to be changed.
pub(super) fn message_mut(history: &mut History, index: usize) -> (&mut Cursor, &mut Message) {
    match &mut history.records[index].op {
        Op::Queue(QueueOp::StreamMessage {
            cursor, message, ..
        }) => (cursor, message),
        other => panic!("{other:?} is not a message"),
    }
}

pub(super) fn sale_mut(history: &mut History, index: usize) -> &mut SaleOp {
    match &mut history.records[index].op {
        Op::Sale(op) => op,
        other => panic!("{other:?} is not a sale"),
    }
}

/// Puts a changed copy of a record right behind it, later by some time.
pub(super) fn copy_after(
    history: &mut History,
    index: usize,
    later_ms: u64,
    change: impl FnOnce(&mut Record),
) {
    let mut copy = history.records[index].clone();
    copy.invoked_ms += later_ms;
    copy.returned_ms += later_ms;
    change(&mut copy);
    history.records.insert(index + 1, copy);
}

pub(super) fn is_position(op: &Op) -> bool {
    matches!(message(op), Some(Message::Position { .. }))
}

pub(super) fn is_activated(op: &Op) -> bool {
    matches!(message(op), Some(Message::Activated { .. }))
}

pub(super) fn is_ended(op: &Op) -> bool {
    matches!(message(op), Some(Message::Ended { .. }))
}
