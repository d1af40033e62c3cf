//! Faults of the waiting room.

use uuid::Uuid;

use crate::domain::ids::{ActivationId, Cursor};
use crate::domain::place::EndReason;
use crate::truth::history::{
    AdminOp, Answer, History, Message, Op, PlaceSeen, PlaceState, Policy, QueueOp, SaleOp,
    StreamEnd, TurnSeen, Wanted,
};

use super::clean::{
    BURNT_NUMBER, CLAIM_WINDOW_MS, PASS_TTL_MS, key, performance, place, resource, room, user,
};
use super::edit::{
    all, copy_after, first, is_activated, is_ended, is_position, last, message, message_mut,
};

pub(super) fn is_join(op: &Op) -> bool {
    matches!(
        op,
        Op::Queue(QueueOp::Join {
            answer: Answer::Ok(_),
            ..
        })
    )
}

pub(super) fn joined(op: &mut Op) -> &mut PlaceSeen {
    match op {
        Op::Queue(QueueOp::Join {
            answer: Answer::Ok(seen),
            ..
        }) => seen,
        other => panic!("{other:?} is not a join"),
    }
}

pub(super) fn reused_number(history: &mut History) {
    let join = first(history, "u3", is_join);
    copy_after(history, join, 1, |copy| {
        copy.user = user("u99");
        copy.client = "tab-u99".to_owned();
    });
}

pub(super) fn number_out_of_order(history: &mut History) {
    let join = first(history, "u12", is_join);
    let latest = last(history, "u12", |op| message(op).is_some());
    let (cursor, _) = message_mut(history, latest);
    let cursor = *cursor;
    copy_after(history, join, 70_000, |copy| {
        copy.user = user("u99");
        let seen = joined(&mut copy.op);
        seen.place = place(BURNT_NUMBER);
        // It comes when its turn would have been: nobody is told of it.
        (seen.state, seen.position) = (PlaceState::Activated, None);
        (seen.cursor, seen.as_of_ms) = (cursor, copy.invoked_ms);
    });
}

pub(super) fn two_live_places(history: &mut History) {
    let join = first(history, "u12", is_join);
    copy_after(history, join, 300, |copy| {
        let seen = joined(&mut copy.op);
        seen.place = place(99);
        seen.position = None;
    });
}

/// Positions that follow the departure of `who` can be one too high without a
/// stream proving it wrong; so only their growth shows.
pub(super) fn position_grows(history: &mut History) {
    let polled = last(history, "u4", |op| {
        matches!(op, Op::Queue(QueueOp::GetPlace { .. }))
    });
    let told: Vec<usize> = all(history, "u12", is_position)
        .into_iter()
        .filter(|&index| index > polled)
        .collect();
    let at = |history: &mut History, index| match message_mut(history, index) {
        (cursor, Message::Position { position, .. }) => (cursor.epoch, *position),
        _ => panic!("not a position"),
    };
    for pair in told.windows(2) {
        if at(history, pair[0]) == at(history, pair[1]) {
            change_position(history, pair[1], 1, 1);
            return;
        }
    }
    panic!("no position was repeated");
}

pub(super) fn change_position(history: &mut History, index: usize, by: i64, total_by: i64) {
    if let (
        _,
        Message::Position {
            position,
            waiting_total,
        },
    ) = message_mut(history, index)
    {
        *position += by;
        *waiting_total += total_by;
    }
}

pub(super) fn position_beyond_number(history: &mut History) {
    let join = first(history, "u1", is_join);
    for index in all(history, "u1", |_| true) {
        match &mut history.records[index].op {
            Op::Queue(QueueOp::StreamMessage {
                message: Message::Snapshot { seen, .. },
                ..
            }) if seen.position.is_some() => seen.position = None,
            Op::Queue(QueueOp::StreamMessage { message, .. })
                if matches!(message, Message::Position { .. }) =>
            {
                *message = Message::Heartbeat;
            }
            _ => {}
        }
    }
    let seen = joined(&mut history.records[join].op);
    (seen.position, seen.waiting_total) = (Some(2), 2);
}

pub(super) fn lost_departure(history: &mut History) {
    let left = first(history, "u2", is_ended);
    for index in all(history, "u3", is_position) {
        if index > left {
            change_position(history, index, 1, 1);
        }
    }
}

pub(super) fn departure_too_early(history: &mut History) {
    let told = all(history, "u12", is_position);
    for &index in told.iter().rev() {
        if let (_, Message::Position { position, .. }) = message_mut(history, index)
            && *position > 2
        {
            *position -= 1;
            return;
        }
    }
    panic!("no position above 2");
}

pub(super) fn position_zero(history: &mut History) {
    let index = last(history, "u12", is_position);
    if let (_, Message::Position { position, .. }) = message_mut(history, index) {
        *position = 0;
    }
}

pub(super) fn total_too_small(history: &mut History) {
    let index = first(history, "u12", is_position);
    if let (
        _,
        Message::Position {
            position,
            waiting_total,
        },
    ) = message_mut(history, index)
    {
        *waiting_total = *position - 1;
    }
}

fn policy(history: &mut History) -> &mut Policy {
    let index = first(history, "admin", |op| {
        matches!(op, Op::Admin(AdminOp::ConfigureRoom { .. }))
    });
    match &mut history.records[index].op {
        Op::Admin(AdminOp::ConfigureRoom { policy, .. }) => policy,
        other => panic!("{other:?} is not a policy"),
    }
}

pub(super) fn capacity_off_by_one(history: &mut History) {
    policy(history).capacity -= 1;
}

pub(super) fn rate_burst(history: &mut History) {
    policy(history).rate_per_s = 2.0;
}

/// The last in line was activated before the one ahead of it, as its window
/// says; both were told in order.
pub(super) fn order_inversion(history: &mut History) {
    let ahead = last(history, "u11", is_position);
    let Op::Queue(QueueOp::StreamMessage { as_of_ms, .. }) = history.records[ahead].op else {
        panic!("not a message")
    };
    move_activation(history, "u12", as_of_ms - 50 + CLAIM_WINDOW_MS);
}

/// A user's claim window ends at another time, and so began at another.
pub(super) fn move_activation(history: &mut History, who: &str, until_ms: u64) {
    for index in all(history, who, is_activated) {
        if let (
            _,
            Message::Activated {
                claim_by_ms: Some(claim_by_ms),
                ..
            },
        ) = message_mut(history, index)
        {
            *claim_by_ms = until_ms;
        }
    }
}

pub(super) fn activated_twice(history: &mut History) {
    let index = last(history, "u3", is_activated);
    if let (_, Message::Activated { activation_id, .. }) = message_mut(history, index) {
        *activation_id = ActivationId(Uuid::from_u128(999));
    }
}

pub(super) fn activation_shared(history: &mut History) {
    let (_, id) = activation(history, "u3");
    let index = last(history, "u1", is_activated);
    if let (_, Message::Activated { activation_id, .. }) = message_mut(history, index) {
        *activation_id = id;
    }
}

pub(super) fn expiry_moves(history: &mut History) {
    let index = last(history, "u3", is_activated);
    if let (_, Message::Activated { expire_ms, .. }) = message_mut(history, index) {
        *expire_ms = expire_ms.map(|ms| ms + 1_000);
    }
}

pub(super) fn waits_again(history: &mut History) {
    let told = all(history, "u12", is_activated);
    let (later, _) = message_mut(history, told[1]);
    let later = *later;
    copy_after(history, told[0], 1, |copy| {
        if let Op::Queue(QueueOp::StreamMessage {
            cursor, message, ..
        }) = &mut copy.op
        {
            *cursor = later;
            *message = Message::Position {
                position: 1,
                waiting_total: 1,
            };
        }
    });
}

/// The record that told a user of the activation first, and its id.
pub(super) fn activation(history: &mut History, who: &str) -> (usize, ActivationId) {
    let index = first(history, who, is_activated);
    match message_mut(history, index) {
        (_, Message::Activated { activation_id, .. }) => (index, *activation_id),
        _ => panic!("not an activation"),
    }
}

/// A user's own number, as its join was answered.
pub(super) fn number(history: &mut History, who: &str) -> u64 {
    let join = first(history, who, is_join);
    joined(&mut history.records[join].op).place.number
}

pub(super) fn claim_refused(history: &mut History) {
    let (told, _) = activation(history, "u3");
    let number = number(history, "u3");
    copy_after(history, told, 10, |copy| {
        copy.op = Op::Queue(QueueOp::Claim {
            room: room(),
            place: place(number),
            answer: Answer::Refused("NOT_ACTIVATED".to_owned()),
        });
    });
}

pub(super) fn pass_refused(history: &mut History) {
    let (_, id) = activation(history, "u3");
    let claimed = first(history, "u3", |op| {
        matches!(op, Op::Queue(QueueOp::Claim { .. }))
    });
    copy_after(history, claimed, 10, |copy| {
        copy.op = Op::Sale(SaleOp::Hold {
            performance: performance(),
            wanted: Wanted::Seats(vec![resource("seat-3")]),
            key: key("hold-refused"),
            pass: Some(id),
            answer: Answer::Refused("PASS_ENDED".to_owned()),
        });
    });
}

pub(super) fn ended_too_early(history: &mut History) {
    let index = first(history, "u6", is_ended);
    history.records[index].returned_ms -= 5_000;
    history.records[index].invoked_ms -= 5_000;
}

pub(super) fn stale_snapshot(history: &mut History) {
    let resumes = |op: &Op| {
        matches!(
            op,
            Op::Queue(QueueOp::StreamOpened {
                resume: Some(_),
                ..
            })
        )
    };
    let index = first(history, "u9", resumes);
    if let Op::Queue(QueueOp::StreamOpened {
        resume: Some(Cursor { revision, .. }),
        ..
    }) = &mut history.records[index].op
    {
        *revision += 5;
    }
}

pub(super) fn snapshot_missing(history: &mut History) {
    let index = first(history, "u3", |op| {
        matches!(message(op), Some(Message::Snapshot { .. }))
    });
    history.records.remove(index);
}

pub(super) fn cursor_goes_back(history: &mut History) {
    let index = last(history, "u7", |op| {
        matches!(message(op), Some(Message::Heartbeat))
    });
    let (cursor, _) = message_mut(history, index);
    cursor.revision = 0;
}

pub(super) fn position_repeats_cursor(history: &mut History) {
    let index = first(history, "u12", is_position);
    copy_after(history, index, 1, |_| {});
}

pub(super) fn missing_heartbeat(history: &mut History) {
    let beats = all(history, "u7", |op| {
        matches!(message(op), Some(Message::Heartbeat))
    });
    for index in beats.into_iter().rev() {
        history.records.remove(index);
    }
}

pub(super) fn event_after_ended(history: &mut History) {
    let index = first(history, "u2", is_ended);
    copy_after(history, index, 1, |copy| {
        if let Op::Queue(QueueOp::StreamMessage { message, .. }) = &mut copy.op {
            *message = Message::Heartbeat;
        }
    });
}

pub(super) fn ended_with_error(history: &mut History) {
    let index = last(history, "u2", |op| {
        matches!(op, Op::Queue(QueueOp::StreamClosed { .. }))
    });
    if let Op::Queue(QueueOp::StreamClosed { end, .. }) = &mut history.records[index].op {
        *end = StreamEnd::Status("INTERNAL".to_owned());
    }
}

pub(super) fn ended_for_wrong_reason(history: &mut History) {
    let index = first(history, "u2", is_ended);
    if let (_, Message::Ended { state, .. }) = message_mut(history, index) {
        *state = EndReason::Completed.state();
    }
}

/// An unclaimed place is shown as activated once more.
pub(super) fn resurrected(history: &mut History) {
    let number = number(history, "u6");
    let (told, id) = activation(history, "u6");
    let claim_by_ms = match message(&history.records[told].op) {
        Some(Message::Activated { claim_by_ms, .. }) => *claim_by_ms,
        _ => None,
    };
    let index = first(history, "u6", is_ended);
    copy_after(history, index, 100, |copy| {
        let Op::Queue(QueueOp::StreamMessage {
            mut cursor,
            as_of_ms,
            ..
        }) = copy.op
        else {
            return;
        };
        cursor.revision += 1;
        copy.op = Op::Queue(QueueOp::GetPlace {
            room: room(),
            place: place(number),
            answer: Answer::Ok(PlaceSeen {
                place: place(number),
                cursor,
                as_of_ms,
                state: PlaceState::Activated,
                position: None,
                waiting_total: 0,
                activation_id: Some(id),
                claim_by_ms,
                expire_ms: None,
            }),
        });
    });
}

pub(super) fn foreign_token(history: &mut History) {
    let index = first(history, "u4", |op| {
        matches!(op, Op::Queue(QueueOp::GetPlace { .. }))
    });
    copy_after(history, index, 1, |copy| copy.user = user("u5"));
}

pub(super) fn late_claim(history: &mut History) {
    let number = number(history, "u6");
    let (_, id) = activation(history, "u6");
    let index = first(history, "u6", is_ended);
    copy_after(history, index, 500, |copy| {
        copy.op = Op::Queue(QueueOp::Claim {
            room: room(),
            place: place(number),
            answer: Answer::Ok(TurnSeen {
                activation_id: id,
                expire_ms: copy.returned_ms + PASS_TTL_MS,
            }),
        });
    });
}
