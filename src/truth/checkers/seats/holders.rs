//! S4: only an active place holds, only a hold's owner pays, only while it
//! lives; S7: one reservation is paid for once.

use crate::domain::ids::RoomId;
use crate::truth::checkers::Violation;
use crate::truth::checkers::turns::{Turn, Turns};
use crate::truth::history::{AdminOp, Answer, History, PaymentState, SaleOp};

use super::reservations::{Paid, Reservation, Reservations};
use super::rooms_of;

pub(super) fn check(
    history: &History,
    reservations: &Reservations,
    turns: &Turns,
) -> Vec<Violation> {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let rooms = rooms_of(history);
    let mut found = Vec::new();
    for reservation in reservations.by_id.values() {
        if let Some(room) = rooms.get(&reservation.performance)
            && let Some((why, record)) = held_without_turn(reservation, turns, room, leeway_ms)
        {
            let text = format!(
                "{}: {} was held {why}",
                reservation.performance, reservation.id
            );
            found.push(Violation::new("S4", text, [record, reservation.record]));
        }
        for paid in &reservation.paid {
            if let Some(why) = paid_wrongly(reservation, paid, leeway_ms) {
                let text = format!("{} was paid for {why}", reservation.id);
                found.push(Violation::new(
                    "S4",
                    text,
                    [reservation.record, paid.record],
                ));
            }
        }
    }
    paid_once(history, reservations, &mut found);
    found
}

/// Why no attempt of this hold can have found its place active.
fn held_without_turn(
    reservation: &Reservation,
    turns: &Turns,
    room: &RoomId,
    leeway_ms: u64,
) -> Option<(&'static str, usize)> {
    if reservation.passes.iter().all(Option::is_none) {
        return Some(("without a pass", reservation.record));
    }
    let mut why = None;
    for pass in reservation.passes.iter().flatten() {
        // A turn that this history does not show says nothing; nor does one of
        // another user or room, which is Q15's.
        let turn = turns.get(*pass)?;
        if turn.user != reservation.user || turn.spot.0 != *room {
            return None;
        }
        why = Some((not_active(turn, reservation, leeway_ms)?, turn.record));
    }
    why
}

fn not_active(turn: &Turn, reservation: &Reservation, leeway_ms: u64) -> Option<&'static str> {
    let claimed = match (turn.claim_invoked_ms, turn.active_seen_ms) {
        // Active with no claim to be seen: there was no window.
        (None, Some(_)) => true,
        (None, None) => false,
        (Some(ms), _) => ms <= reservation.known_ms,
    };
    if !claimed {
        return Some("before its turn was claimed");
    }
    if turn
        .expire_ms
        .is_some_and(|ms| ms + leeway_ms < reservation.from_ms)
    {
        return Some("after its pass had expired");
    }
    let over = turn
        .ended_by
        .is_some_and(|(ms, _)| ms < reservation.from_ms);
    over.then_some("after its turn was over")
}

fn paid_wrongly(reservation: &Reservation, paid: &Paid, leeway_ms: u64) -> Option<&'static str> {
    if paid.user != reservation.user {
        return Some("by someone else");
    }
    if reservation
        .cancelled
        .is_some_and(|(ms, _)| ms < paid.from_ms)
    {
        return Some("after it was cancelled");
    }
    // A gateway extends a hold once, and its late money gets what is still free.
    let late = reservation.hold_expire_ms + leeway_ms < paid.from_ms;
    (paid.from_wallet && late).then_some("after its hold had expired")
}

/// S7: of two captures for one reservation, one was refunded.
fn paid_once(history: &History, reservations: &Reservations, found: &mut Vec<Violation>) {
    for reservation in reservations.by_id.values() {
        if reservation.paid.len() < 2 {
            continue;
        }
        let kept: Vec<&Paid> = reservation
            .paid
            .iter()
            .filter(|paid| !refunded(history, reservation, paid))
            .collect();
        if let [one, other, ..] = kept.as_slice() {
            let text = format!("{} was paid for twice", reservation.id);
            found.push(Violation::new("S7", text, [one.record, other.record]));
        }
    }
}

fn refunded(history: &History, reservation: &Reservation, paid: &Paid) -> bool {
    let seen = history.sale().any(|(_, _, op)| match op {
        SaleOp::GetPayment {
            payment,
            answer: Answer::Ok(seen),
        } => {
            *payment == paid.payment
                && matches!(seen.state, PaymentState::Refunding | PaymentState::Refunded)
        }
        _ => false,
    });
    let by_operator = history.admin().any(|(_, _, op)| match op {
        AdminOp::RefundPayment {
            payment, answer, ..
        } => *payment == paid.payment && answer.may_have_happened(),
        _ => false,
    });
    seen || by_operator || reservation.freed_from_ms < u64::MAX
}
