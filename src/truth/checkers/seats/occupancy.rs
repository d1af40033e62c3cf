//! S1: no seat is sold twice; S2: nor held twice; S5: nobody takes more than
//! the limit.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{ResourceId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::history::{AdminOp, History};

use super::reservations::{Reservation, Reservations};

pub(super) fn check(history: &History, reservations: &Reservations) -> Vec<Violation> {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let mut found = Vec::new();
    let mut seats: BTreeMap<(&ResourceId, &ResourceId), Vec<&Reservation>> = BTreeMap::new();
    for reservation in reservations.by_id.values() {
        for seat in &reservation.seats {
            seats
                .entry((&reservation.performance, seat))
                .or_default()
                .push(reservation);
        }
    }
    for ((performance, seat), mut takers) in seats {
        takers.sort_by_key(|taker| taker.known_ms);
        let mut longest: Option<&Reservation> = None;
        for taker in takers {
            if let Some(holder) = longest
                && let Some(invariant) = collide(holder, taker, leeway_ms)
            {
                let verb = if invariant == "S1" { "sold" } else { "held" };
                let text = format!(
                    "{performance}: seat {seat} is {verb} twice, to {} and to {}",
                    holder.user, taker.user
                );
                found.push(Violation::new(
                    invariant,
                    text,
                    [holder.record, taker.record],
                ));
            }
            let until_ms = |of: &Reservation| of.until_ms(leeway_ms);
            if longest.is_none_or(|holder| until_ms(holder) < until_ms(taker)) {
                longest = Some(taker);
            }
        }
    }
    limits(history, reservations, &mut found);
    found
}

/// Which promise two reservations of one seat break together.
fn collide(holder: &Reservation, taker: &Reservation, leeway_ms: u64) -> Option<&'static str> {
    if let (Some(one_ms), Some(other_ms)) = (holder.sold_ms(), taker.sold_ms()) {
        let freed_ms = holder.freed_from_ms.min(taker.freed_from_ms);
        if one_ms.max(other_ms) < freed_ms {
            return Some("S1");
        }
    }
    let both_ms = holder.until_ms(leeway_ms).min(taker.until_ms(leeway_ms));
    (holder.known_ms.max(taker.known_ms) < both_ms).then_some("S2")
}

/// S5: at the moment a reservation is known, all that its user surely has of
/// the performance fit the limit.
fn limits(history: &History, reservations: &Reservations, found: &mut Vec<Violation>) {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let limits: HashMap<&ResourceId, u64> = history
        .admin()
        .filter_map(|(_, _, op)| match op {
            AdminOp::DescribePerformance { performance } if performance.seats_per_user_max > 0 => {
                Some((&performance.id, performance.seats_per_user_max))
            }
            _ => None,
        })
        .collect();
    let mut users: BTreeMap<(&UserId, &ResourceId), Vec<&Reservation>> = BTreeMap::new();
    for reservation in reservations.by_id.values() {
        users
            .entry((&reservation.user, &reservation.performance))
            .or_default()
            .push(reservation);
    }
    for ((user, performance), mine) in users {
        let Some(&limit) = limits.get(performance) else {
            continue;
        };
        for now in &mine {
            let at_once: Vec<&&Reservation> = mine
                .iter()
                .filter(|other| {
                    other.known_ms <= now.known_ms && now.known_ms < other.until_ms(leeway_ms)
                })
                .collect();
            let seats: usize = at_once.iter().map(|other| other.seats.len()).sum();
            if seats as u64 > limit {
                let text = format!("{performance}: {user} has {seats} seats, limit {limit}");
                let records: Vec<usize> = at_once.iter().map(|other| other.record).collect();
                found.push(Violation::new("S5", text, records));
                break;
            }
        }
    }
}
