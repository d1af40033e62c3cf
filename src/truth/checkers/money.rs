//! M1, M2, M3, M5 and M7, as far as buyers can see them.

mod keys;
mod payments;
mod wallets;

use crate::truth::history::History;

use super::Violation;

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = wallets::check(history);
    found.extend(keys::check(history));
    found.extend(payments::check(history));
    found
}
