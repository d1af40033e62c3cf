//! Q8: a place has one activation, with one expiry; Q9: whoever was told of it
//! can use it until then.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{ActivationId, Cursor};
use crate::domain::place::EndReason;
use crate::truth::checkers::Violation;
use crate::truth::checkers::sights::{Sight, Sights, Spot};
use crate::truth::checkers::turns::{Turn, Turns, is_of_view};
use crate::truth::history::{Answer, History, QueueOp, SaleOp};

/// Refusals that a user with a live pass must not get.
const PASS_REFUSALS: [&str; 7] = [
    "PASS_REQUIRED",
    "PASS_WRONG_ROOM",
    "NOT_ACTIVATED",
    "PASS_ENDED",
    "ACTIVATION_EXPIRED",
    "TOKEN_USER_MISMATCH",
    "UNAUTHENTICATED",
];

pub(super) fn check(history: &History, sights: &Sights, turns: &Turns) -> Vec<Violation> {
    let mut found = Vec::new();
    one_id(history, sights, &mut found);
    one_expiry(history, sights, &mut found);
    never_waits_again(sights, &mut found);
    lasts(history, sights, turns, &mut found);
    entered(history, turns, &mut found);
    found
}

/// What was told of an activation: the place and the record.
fn told<'a>(
    history: &'a History,
    sights: &'a Sights,
) -> impl Iterator<Item = (Spot, ActivationId, usize)> + 'a {
    let seen = sights
        .all
        .iter()
        .filter_map(|sight| Some((sight.spot.clone(), sight.activation?, sight.record)));
    let claimed = history.queue().filter_map(|(index, _, op)| match op {
        QueueOp::Claim {
            room,
            place,
            answer: Answer::Ok(turn),
        } => Some(((room.clone(), *place), turn.activation_id, index)),
        _ => None,
    });
    seen.chain(claimed)
}

fn one_id(history: &History, sights: &Sights, found: &mut Vec<Violation>) {
    let mut of_place: BTreeMap<Spot, (ActivationId, usize)> = BTreeMap::new();
    let mut of_id: BTreeMap<ActivationId, (Spot, usize)> = BTreeMap::new();
    for (spot, id, record) in told(history, sights) {
        let (known, first) = *of_place.entry(spot.clone()).or_insert((id, record));
        if known != id {
            let text = format!("{}: number {} was activated twice", spot.0, spot.1.number);
            found.push(Violation::new("Q8", text, [first, record]));
        }
        let (known, first) = of_id.entry(id).or_insert((spot.clone(), record));
        if *known != spot {
            let text = format!("{}: two places have the activation {id}", spot.0);
            found.push(Violation::new("Q8", text, [*first, record]));
        }
    }
}

fn one_expiry(history: &History, sights: &Sights, found: &mut Vec<Violation>) {
    let mut times: HashMap<(ActivationId, &str), (u64, usize)> = HashMap::new();
    let mut take = |id: ActivationId, name: &'static str, ms: Option<u64>, record: usize| {
        let Some(ms) = ms else { return };
        let (known_ms, first) = *times.entry((id, name)).or_insert((ms, record));
        if known_ms != ms {
            let text = format!("activation {id} has {name} {known_ms} and {ms}");
            found.push(Violation::new("Q8", text, [first, record]));
        }
    };
    for sight in &sights.all {
        if let Some(id) = sight.activation {
            take(id, "claim_by", sight.claim_by_ms, sight.record);
            take(id, "expire_time", sight.expire_ms, sight.record);
        }
    }
    for (index, _, op) in history.queue() {
        if let QueueOp::Claim {
            answer: Answer::Ok(turn),
            ..
        } = op
        {
            take(
                turn.activation_id,
                "expire_time",
                Some(turn.expire_ms),
                index,
            );
        }
    }
}

/// A view that showed the turn never shows the place waiting later, not even
/// in a later epoch: its row is in SQL.
fn never_waits_again(sights: &Sights, found: &mut Vec<Violation>) {
    let mut first: HashMap<&Spot, (Cursor, usize)> = HashMap::new();
    for sight in sights
        .all
        .iter()
        .filter(|sight| is_of_view(sight) && sight.state.has_turn())
    {
        let entry = first
            .entry(&sight.spot)
            .or_insert((sight.cursor, sight.record));
        *entry = (*entry).min((sight.cursor, sight.record));
    }
    let mut reported: Vec<&Spot> = Vec::new();
    for sight in sights.all.iter().filter(|sight| sight.state.waits()) {
        if let Some((cursor, record)) = first.get(&sight.spot)
            && sight.cursor > *cursor
            && !reported.contains(&&sight.spot)
        {
            reported.push(&sight.spot);
            let text = format!(
                "{}: number {} waits again after its activation",
                sight.spot.0, sight.spot.1.number
            );
            found.push(Violation::new("Q8", text, [*record, sight.record]));
        }
    }
}

/// No turn ends before its time but by someone's hand.
fn lasts(history: &History, sights: &Sights, turns: &Turns, found: &mut Vec<Violation>) {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let of_place: HashMap<&Spot, &Turn> = turns
        .by_id
        .values()
        .map(|turn| (&turn.spot, turn))
        .collect();
    for sight in &sights.all {
        let Some(turn) = of_place.get(&sight.spot) else {
            continue;
        };
        if ended_too_early(sight, turn, leeway_ms) {
            let text = format!(
                "{}: the turn of number {} ended before its time",
                sight.spot.0, sight.spot.1.number
            );
            found.push(Violation::new("Q9", text, [turn.record, sight.record]));
        }
    }
}

fn ended_too_early(sight: &Sight, turn: &Turn, leeway_ms: u64) -> bool {
    let before = |ms: Option<u64>| ms.is_some_and(|ms| sight.returned_ms + leeway_ms < ms);
    match sight.reason {
        Some(EndReason::Unclaimed) => before(turn.claim_by_ms),
        Some(EndReason::PassExpired) => before(turn.expire_ms),
        // These are ends of those who wait.
        Some(EndReason::Absent | EndReason::RoomClosed) => {
            turn.seen_ms <= sight.held_ms && !turn.by_operator
        }
        Some(EndReason::Left | EndReason::Revoked | EndReason::Completed | EndReason::Merged)
        | None => false,
    }
}

/// Claims and holds of a live turn are not refused for the pass's sake.
fn entered(history: &History, turns: &Turns, found: &mut Vec<Violation>) {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let of_place: HashMap<&Spot, &Turn> = turns
        .by_id
        .values()
        .map(|turn| (&turn.spot, turn))
        .collect();
    for (index, record, op) in history.queue() {
        if let QueueOp::Claim {
            room,
            place,
            answer: Answer::Refused(reason),
        } = op
            && let Some(turn) = of_place.get(&(room.clone(), *place))
            && turn.user == record.user
            && PASS_REFUSALS.contains(&reason.as_str())
            && turn.seen_ms < record.invoked_ms
            && record.returned_ms < turn.holds_until_ms(leeway_ms)
        {
            let text = format!("{room}: a claim within its time was refused ({reason})");
            found.push(Violation::new("Q9", text, [turn.record, index]));
        }
    }
    for (index, record, op) in history.sale() {
        if let SaleOp::Hold {
            pass: Some(pass),
            answer: Answer::Refused(reason),
            ..
        } = op
            && let Some(turn) = turns.get(*pass)
            && turn.user == record.user
            && PASS_REFUSALS.contains(&reason.as_str())
            && turn.active_seen_ms.is_some_and(|ms| ms < record.invoked_ms)
            && record.returned_ms < turn.holds_until_ms(leeway_ms)
        {
            let text = format!("{}: a live pass was refused ({reason})", turn.spot.0);
            found.push(Violation::new("Q9", text, [turn.record, index]));
        }
    }
}
