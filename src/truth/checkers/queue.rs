//! Q1–Q9, Q12, Q13 and Q15, as far as clients can see them.

mod admission;
mod identity;
mod order;
mod positions;
mod ranks;
mod scope;
mod streams;
mod turn;

use crate::truth::history::History;

use super::Violation;
use super::sights::Sights;
use super::turns::Turns;

pub(super) fn check(history: &History, sights: &Sights, turns: &Turns) -> Vec<Violation> {
    let owners = identity::Owners::read(history);
    let mut found = identity::check(history, sights, turns, &owners);
    found.extend(positions::check(sights));
    found.extend(ranks::check(sights));
    found.extend(admission::check(history, sights, turns));
    found.extend(order::check(history, sights, turns));
    found.extend(turn::check(history, sights, turns));
    found.extend(streams::check(history, sights));
    found.extend(scope::check(history, sights, turns, &owners));
    found
}
