//! Q15, as far as it is visible: a token opens its own place, room and time
//! only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::checkers::seats::rooms_of;
use crate::truth::checkers::sights::{Sights, Spot};
use crate::truth::checkers::turns::Turns;
use crate::truth::history::{AdminOp, Answer, History, QueueOp, Record, SaleOp};

use super::identity::Owners;

pub(super) fn check(
    history: &History,
    sights: &Sights,
    turns: &Turns,
    owners: &Owners,
) -> Vec<Violation> {
    let mut found = Vec::new();
    places(history, sights, owners, &mut found);
    late_claims(history, turns, &mut found);
    passes(history, turns, &mut found);
    codes(history, &mut found);
    found
}

/// A call of the queue, and where its record is.
type Call<'a> = (usize, &'a Record, &'a QueueOp);

/// Of two users, one was let in by a code. It was looked at in a user's first
/// join only if nothing else can have given them a place before.
fn codes(history: &History, found: &mut Vec<Violation>) {
    let granted: BTreeSet<(&RoomId, &UserId)> = history
        .admin()
        .filter_map(|(_, _, op)| match op {
            AdminOp::GrantPlace { room, user, answer } if answer.may_have_happened() => {
                Some((room, user))
            }
            _ => None,
        })
        .collect();
    let mut joins: BTreeMap<(&RoomId, &UserId), Vec<Call>> = BTreeMap::new();
    for (index, record, op) in history.queue() {
        if let QueueOp::Join { room, answer, .. } = op
            && answer.may_have_happened()
        {
            let key = (room, &record.user);
            joins.entry(key).or_default().push((index, record, op));
        }
    }
    let mut let_in: HashMap<(&RoomId, &str), (&UserId, usize)> = HashMap::new();
    for ((room, user), mut calls) in joins {
        calls.sort_by_key(|(_, record, _)| record.invoked_ms);
        let Some((index, first, op)) = calls.first().copied() else {
            continue;
        };
        let QueueOp::Join {
            code: Some(code),
            presented: None,
            answer: Answer::Ok(_),
            ..
        } = op
        else {
            continue;
        };
        let is_alone = calls[1..]
            .iter()
            .all(|(_, later, _)| later.invoked_ms > first.returned_ms);
        if granted.contains(&(room, user)) || !is_alone {
            continue;
        }
        let (owner, before) = *let_in.entry((room, code)).or_insert((user, index));
        if owner != user {
            let text = format!("{room}: one code let in {owner} and {user}");
            found.push(Violation::new("Q15", text, [before, index]));
        }
    }
}

/// The place whose token a call was accepted with.
fn accepted(op: &QueueOp) -> Option<Spot> {
    match op {
        QueueOp::Join {
            room,
            presented: Some(presented),
            answer: Answer::Ok(seen),
            ..
        } if *presented == seen.place => Some((room.clone(), *presented)),
        QueueOp::GetPlace {
            room,
            place,
            answer: Answer::Ok(_),
        }
        | QueueOp::Claim {
            room,
            place,
            answer: Answer::Ok(_),
        }
        | QueueOp::Leave {
            room,
            place,
            answer: Answer::Ok(()),
        } => Some((room.clone(), *place)),
        _ => None,
    }
}

fn places(history: &History, sights: &Sights, owners: &Owners, found: &mut Vec<Violation>) {
    let calls = history
        .queue()
        .filter_map(|(index, record, op)| accepted(op).map(|spot| (index, &record.user, spot)));
    let streams = sights.streams.values().filter_map(|stream| {
        let first = *stream.messages.first()?;
        Some((first, &stream.user, stream.spot.clone()))
    });
    for (record, user, spot) in calls.chain(streams) {
        if let Some(owner) = owners.of(&spot)
            && owner != user
        {
            let text = format!(
                "{}: {user} used the place {} of {owner}",
                spot.0, spot.1.number
            );
            found.push(Violation::new("Q15", text, [record]));
        }
    }
}

/// A claim that was first made after the window is refused.
fn late_claims(history: &History, turns: &Turns, found: &mut Vec<Violation>) {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    for (index, _, op) in history.queue() {
        let QueueOp::Claim {
            answer: Answer::Ok(seen),
            ..
        } = op
        else {
            continue;
        };
        let Some(turn) = turns.get(seen.activation_id) else {
            continue;
        };
        if let (Some(claim_by_ms), Some(first_ms)) = (turn.claim_by_ms, turn.claim_invoked_ms)
            && first_ms > claim_by_ms + leeway_ms
        {
            let text = format!(
                "{}: a claim {} ms after its window was accepted",
                turn.spot.0,
                first_ms - claim_by_ms
            );
            found.push(Violation::new("Q15", text, [turn.record, index]));
        }
    }
}

/// A pass opens sales of its room, for its user.
fn passes(history: &History, turns: &Turns, found: &mut Vec<Violation>) {
    let rooms = rooms_of(history);
    let room_of = |performance: &ResourceId| -> Option<&RoomId> { rooms.get(performance).copied() };
    for (index, record, op) in history.sale() {
        let SaleOp::Hold {
            performance,
            pass: Some(pass),
            answer: Answer::Ok(_),
            ..
        } = op
        else {
            continue;
        };
        let (Some(turn), Some(room)) = (turns.get(*pass), room_of(performance)) else {
            continue;
        };
        if turn.user != record.user || turn.spot.0 != *room {
            let text = format!(
                "{} held seats of {performance} with a pass of {} for {}",
                record.user, turn.user, turn.spot.0
            );
            found.push(Violation::new("Q15", text, [turn.record, index]));
        }
    }
}
