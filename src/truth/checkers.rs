//! Which invariants a history breaks.
//!
//! Every check is a pure function of the history and is *sound*: it reports
//! only what no correct execution can show. So each fact is used with the
//! bounds under which it is certain: an effect happened between the first
//! invocation and the first good reply; what a view showed held at its cursor,
//! and at its `as_of`; a call of unknown outcome may have happened at any time
//! since. What a client cannot see (Q10, Q11, Q14, S3, S6, M4, M6) belongs to
//! the audit of the stores.
//!
//! Each check costs at most n·log n in the number of records.

mod faults;
mod money;
mod queue;
mod seats;
mod sights;
mod turns;

use std::fmt;

use super::history::History;

/// One broken promise, with the records that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the list of invariants, such as `Q4`.
    pub invariant: &'static str,
    pub text: String,
    /// Indexes into the history.
    pub records: Vec<usize>,
}

impl Violation {
    fn new(invariant: &'static str, text: String, records: impl Into<Vec<usize>>) -> Self {
        Self {
            invariant,
            text,
            records: records.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// The invariants that [`check`] looks at.
pub const CHECKED: [&str; 22] = [
    "Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9", "Q12", "Q13", "Q15", "S1", "S2", "S4",
    "S5", "S7", "M1", "M2", "M3", "M5", "M7",
];

/// Every violation that the history proves.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let sights = sights::Sights::read(history);
    let turns = turns::Turns::read(history, &sights);
    let mut found = queue::check(history, &sights, &turns);
    found.extend(seats::check(history, &turns));
    found.extend(money::check(history));
    found
}

#[cfg(test)]
mod tests;
