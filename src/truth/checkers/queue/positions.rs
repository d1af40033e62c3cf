//! Q4: a waiting place's position never grows within an epoch; and Q5's plain
//! part: it is positive and within the total.

use std::collections::HashMap;

use crate::truth::checkers::Violation;
use crate::truth::checkers::sights::{Sight, Sights, Spot};

pub(super) fn check(sights: &Sights) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut lines: HashMap<(&Spot, u64), Vec<(&Sight, i64)>> = HashMap::new();
    for sight in &sights.all {
        let Some(position) = sight.position else {
            continue;
        };
        plain(sight, position, &mut found);
        lines
            .entry((&sight.spot, sight.cursor.epoch))
            .or_default()
            .push((sight, position));
    }
    for ((spot, epoch), mut line) in lines {
        // A client ignores a state with a smaller cursor, also across tabs; so
        // the order that counts is the cursor's. Within one revision every
        // view says the same.
        line.sort_by_key(|(sight, _)| (sight.cursor, sight.returned_ms, sight.record));
        for pair in line.windows(2) {
            let [(earlier, before), (later, after)] = *pair else {
                continue;
            };
            if after > before {
                let text = format!(
                    "{}: number {} went from position {before} to {after} in epoch {epoch}",
                    spot.0, spot.1.number
                );
                found.push(Violation::new("Q4", text, [earlier.record, later.record]));
            }
        }
        let worst = line.iter().filter(|_| sights.is_fifo(&spot.0));
        for (sight, position) in worst.take(1) {
            if u64::try_from(*position).is_ok_and(|position| position > spot.1.number) {
                let text = format!(
                    "{}: number {} is told position {position}, worse than its token",
                    spot.0, spot.1.number
                );
                found.push(Violation::new("Q4", text, [sight.record]));
            }
        }
    }
    found
}

fn plain(sight: &Sight, position: i64, found: &mut Vec<Violation>) {
    if position < 1 {
        let text = format!("{}: a position of {position}", sight.spot.0);
        found.push(Violation::new("Q5", text, [sight.record]));
    } else if sight.total < position {
        let text = format!(
            "{}: position {position} of {} waiting",
            sight.spot.0, sight.total
        );
        found.push(Violation::new("Q5", text, [sight.record]));
    }
}
