//! S1, S2, S4, S5 and S7, as far as buyers can see them.

mod holders;
mod occupancy;
mod reservations;

use std::collections::HashMap;

use crate::domain::ids::{ResourceId, RoomId};
use crate::truth::history::{AdminOp, History};

use super::Violation;
use super::turns::Turns;

pub(super) use reservations::Reservations;

pub(super) fn check(history: &History, turns: &Turns) -> Vec<Violation> {
    let reservations = Reservations::read(history);
    let mut found = occupancy::check(history, &reservations);
    found.extend(holders::check(history, &reservations, turns));
    found
}

/// The room that protects each performance.
pub(super) fn rooms_of(history: &History) -> HashMap<&ResourceId, &RoomId> {
    history
        .admin()
        .filter_map(|(_, _, op)| match op {
            AdminOp::DescribePerformance { performance } => {
                Some((&performance.id, performance.room.as_ref()?))
            }
            _ => None,
        })
        .collect()
}
