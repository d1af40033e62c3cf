//! Faults beside something that excuses other things: a node that was killed, a
//! master that was cut off, a stream that begins with a turn.

use crate::truth::history::{
    History, Message, Op, PlaceSeen, PlaceState, QueueOp, RoomShown, StreamEnd, StreamId,
};

use super::clean::{CLAIM_WINDOW_MS, HEARTBEAT_MS, place, room, user};
use super::edit::{all, copy_after, first, is_activated, is_position, last, message_mut};
use super::queue::{
    change_position, is_join, move_activation, number, number_out_of_order, resurrected,
};

/// Not one of the clean history's.
const STREAM: StreamId = 9_999;

fn break_something(history: &mut History, near: usize, later_ms: u64, what: &str) {
    copy_after(history, near, later_ms, |copy| {
        copy.user = user("nemesis");
        copy.op = Op::Fault {
            what: what.to_owned(),
        };
    });
}

/// A master was cut off meanwhile, and was back for long.
pub(super) fn number_out_of_order_after_split(history: &mut History) {
    let join = first(history, "u12", is_join);
    number_out_of_order(history);
    break_something(history, join, 10_000, "the master is isolated");
}

/// The one overtaken had another stream, which was over before the fault.
pub(super) fn order_inversion_after_fault(history: &mut History) {
    let ahead = last(history, "u9", is_position);
    let Op::Queue(QueueOp::StreamMessage { as_of_ms, .. }) = history.records[ahead].op else {
        panic!("not a message")
    };
    move_activation(history, "u10", as_of_ms - 50 + CLAIM_WINDOW_MS);
    let early = all(history, "u9", is_position)
        .into_iter()
        .rfind(|&index| history.records[index].returned_ms < as_of_ms - 200)
        .expect("a clean history");
    break_something(history, early, 10, "a node is killed");
}

/// Someone behind is told as if the first were still in line.
pub(super) fn lost_turn(history: &mut History) {
    let called = begin_with_turn(history, "u1");
    for index in all(history, "u3", is_position) {
        if index > called {
            change_position(history, index, 1, 1);
        }
    }
}

pub(super) fn resurrected_after_turn(history: &mut History) {
    begin_with_turn(history, "u6");
    resurrected(history);
}

/// A user's stream breaks before the turn; the next one begins with it, and
/// tells all that follows. Where it is told.
fn begin_with_turn(history: &mut History, who: &str) -> usize {
    let told = first(history, who, is_activated);
    let place = place(number(history, who));
    let (cursor, message) = message_mut(history, told);
    let (cursor, message) = (*cursor, message.clone());
    let Message::Activated {
        activation_id,
        claim_by_ms,
        expire_ms,
    } = message
    else {
        panic!("not an activation")
    };
    let Op::Queue(QueueOp::StreamMessage {
        stream, as_of_ms, ..
    }) = history.records[told].op
    else {
        panic!("not a message")
    };
    for record in &mut history.records[told..] {
        if let Op::Queue(
            QueueOp::StreamMessage { stream: of, .. } | QueueOp::StreamClosed { stream: of, .. },
        ) = &mut record.op
            && *of == stream
        {
            *of = STREAM;
        }
    }
    let snapshot = Message::Snapshot {
        seen: PlaceSeen {
            place,
            cursor,
            as_of_ms,
            state: PlaceState::Activated,
            position: None,
            waiting_total: 0,
            activation_id: Some(activation_id),
            claim_by_ms,
            expire_ms,
        },
        room_state: RoomShown::Open,
        resumed: false,
        heartbeat_interval_ms: HEARTBEAT_MS,
    };
    let before = [
        QueueOp::StreamClosed {
            stream,
            end: StreamEnd::Broken,
        },
        QueueOp::StreamOpened {
            stream: STREAM,
            room: room(),
            place,
            resume: None,
        },
        QueueOp::StreamMessage {
            stream: STREAM,
            cursor,
            as_of_ms,
            message: snapshot,
        },
    ];
    for (step, op) in before.into_iter().enumerate() {
        let mut record = history.records[told].clone();
        record.op = Op::Queue(op);
        history.records.insert(told + step, record);
    }
    told
}
