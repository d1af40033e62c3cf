//! Q1–Q3: numbers are unique and rise; a user has one live place.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{LaneIndex, PlaceKey, RoomId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::checkers::faults::Span;
use crate::truth::checkers::sights::{Sight, Sights, Spot};
use crate::truth::checkers::turns::Turns;
use crate::truth::history::{AdminOp, History, QueueOp};

/// A place as it was first given to a user.
#[derive(Debug, Clone)]
struct Given {
    user: UserId,
    record: usize,
    /// It surely existed from then on.
    known_ms: u64,
}

/// Who was given which place.
#[derive(Debug, Default)]
pub(super) struct Owners {
    given: BTreeMap<Spot, Vec<Given>>,
}

impl Owners {
    pub fn read(history: &History) -> Self {
        let mut owners = Self::default();
        for (index, record, op) in history.queue() {
            if let QueueOp::Join {
                room,
                presented,
                answer,
                ..
            } = op
                && let Some(seen) = answer.ok()
                // A token that was shown proves nothing about who it was given to.
                && *presented != Some(seen.place)
            {
                owners.give(room, seen.place, &record.user, index, record.returned_ms);
            }
        }
        for (index, record, op) in history.admin() {
            if let AdminOp::GrantPlace { room, user, answer } = op
                && let Some((place, _)) = answer.ok()
            {
                owners.give(room, *place, user, index, record.returned_ms);
            }
        }
        owners
    }

    /// The one user a place was given to.
    pub fn of(&self, spot: &Spot) -> Option<&UserId> {
        match self.given.get(spot)?.as_slice() {
            [given] => Some(&given.user),
            _ => None,
        }
    }

    fn give(&mut self, room: &RoomId, place: PlaceKey, user: &UserId, record: usize, ms: u64) {
        let given = self.given.entry((room.clone(), place)).or_default();
        match given.iter_mut().find(|given| given.user == *user) {
            Some(known) => known.known_ms = known.known_ms.min(ms),
            None => given.push(Given {
                user: user.clone(),
                record,
                known_ms: ms,
            }),
        }
    }
}

pub(super) fn check(
    history: &History,
    sights: &Sights,
    turns: &Turns,
    owners: &Owners,
) -> Vec<Violation> {
    let mut found = Vec::new();
    unique(owners, &mut found);
    rising(history, sights, owners, &mut found);
    one_place(history, sights, owners, &mut found);
    one_turn(history, turns, &mut found);
    found
}

/// Q1.
fn unique(owners: &Owners, found: &mut Vec<Violation>) {
    for ((room, place), given) in &owners.given {
        if let [first, second, ..] = given.as_slice() {
            let text = format!(
                "{room}: number {} was given to {} and to {}",
                place.number, first.user, second.user
            );
            found.push(Violation::new("Q1", text, [first.record, second.record]));
        }
    }
}

/// Q2: of two joins, one over before the other began, the first has the
/// smaller number. Across epochs too: a later epoch's numbers are larger. But
/// where a server is cut off, an epoch may go on beside the next one: what is
/// issued then is ordered only after what was known before.
fn rising(history: &History, sights: &Sights, owners: &Owners, found: &mut Vec<Violation>) {
    let begun = first_calls(history, owners);
    let mut lanes: HashMap<(&RoomId, LaneIndex), Vec<Issue>> = HashMap::new();
    for (spot, given) in &owners.given {
        let [given] = given.as_slice() else { continue };
        let issue = Issue {
            number: spot.1.number,
            // Without a call that can have issued it, nothing is certain.
            begun_ms: begun.get(spot).copied().unwrap_or_default(),
            known_ms: given.known_ms,
            record: given.record,
        };
        lanes.entry((&spot.0, spot.1.lane)).or_default().push(issue);
    }
    for ((room, _), issues) in lanes {
        let known = Known::of(issues.clone());
        for issue in issues {
            let split_ms = sights.faults.split_during(issue.span());
            let before_ms = split_ms.map_or(issue.begun_ms, |ms| ms.min(issue.begun_ms));
            if let Some(highest) = known.highest_before(before_ms)
                && highest.number > issue.number
            {
                let text = format!(
                    "{room}: number {} was given after {} was known",
                    issue.number, highest.number
                );
                found.push(Violation::new("Q2", text, [highest.record, issue.record]));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Issue {
    number: u64,
    /// No call that could have issued it began before.
    begun_ms: u64,
    known_ms: u64,
    record: usize,
}

impl Issue {
    /// It was issued at some time of it.
    fn span(self) -> Span {
        Span::new(self.begun_ms, self.known_ms)
    }
}

/// Numbers in the order in which they were known, each with the highest of all
/// until then.
struct Known(Vec<(u64, Issue)>);

impl Known {
    fn of(mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.known_ms);
        let highest = issues
            .into_iter()
            .scan(None, |highest: &mut Option<Issue>, issue| {
                let before = highest.filter(|before| before.number > issue.number);
                *highest = before.or(Some(issue));
                highest.map(|highest| (issue.known_ms, highest))
            });
        Self(highest.collect())
    }

    /// Of those known before a moment.
    fn highest_before(&self, ms: u64) -> Option<Issue> {
        let known = self.0.partition_point(|(known_ms, _)| *known_ms < ms);
        let (_, highest) = self.0[..known].last()?;
        Some(*highest)
    }
}

/// The first call of each owner that could have issued the place: not one that
/// was answered with another.
fn first_calls(history: &History, owners: &Owners) -> HashMap<Spot, u64> {
    let mut any: HashMap<(&UserId, &RoomId), u64> = HashMap::new();
    let mut exact: HashMap<Spot, u64> = HashMap::new();
    let at_least = |slot: &mut u64, ms: u64| *slot = (*slot).min(ms);
    for (_, record, op) in history.queue() {
        let QueueOp::Join { room, answer, .. } = op else {
            continue;
        };
        if let Some(seen) = answer.ok() {
            let slot = exact.entry((room.clone(), seen.place)).or_insert(u64::MAX);
            at_least(slot, record.invoked_ms);
        } else if answer.may_have_happened() {
            let slot = any.entry((&record.user, room)).or_insert(u64::MAX);
            at_least(slot, record.invoked_ms);
        }
    }
    for (_, record, op) in history.admin() {
        if let AdminOp::GrantPlace { room, user, answer } = op
            && answer.may_have_happened()
        {
            let slot = any.entry((user, room)).or_insert(u64::MAX);
            at_least(slot, record.invoked_ms);
        }
    }
    let mut first = HashMap::new();
    for (spot, given) in &owners.given {
        let [given] = given.as_slice() else { continue };
        let calls = [any.get(&(&given.user, &spot.0)), exact.get(spot)];
        if let Some(ms) = calls.into_iter().flatten().min() {
            first.insert(spot.clone(), *ms);
        }
    }
    first
}

/// When one place was surely live, within one epoch.
struct Life<'a> {
    place: PlaceKey,
    first: &'a Sight,
    from_ms: u64,
    to_ms: u64,
    /// The epoch in which the place was seen first.
    born: u64,
}

/// Q3: two places of a user never live at once. A loss may leave a token and a
/// newer place, which merge: so only places first seen in one epoch count.
fn one_place(history: &History, sights: &Sights, owners: &Owners, found: &mut Vec<Violation>) {
    let mut born: HashMap<&Spot, u64> = HashMap::new();
    let mut lives: HashMap<(&UserId, &RoomId, u64), Vec<Life>> = HashMap::new();
    // Another user's place is Q15's.
    let own = |sight: &&Sight| {
        owners
            .of(&sight.spot)
            .is_none_or(|owner| *owner == sight.user)
    };
    let live = sights.all.iter().filter(|sight| !sight.state.is_over());
    for sight in live.filter(own) {
        let epoch = sight.cursor.epoch;
        let born = born.entry(&sight.spot).or_insert(epoch);
        *born = epoch.min(*born);
        let of_user = lives
            .entry((&sight.user, &sight.spot.0, epoch))
            .or_default();
        match of_user.iter_mut().find(|life| life.place == sight.spot.1) {
            Some(life) => {
                life.from_ms = life.from_ms.min(sight.returned_ms);
                life.to_ms = life.to_ms.max(sight.held_ms);
            }
            None => of_user.push(Life {
                place: sight.spot.1,
                first: sight,
                from_ms: sight.returned_ms,
                to_ms: sight.held_ms,
                born: *born,
            }),
        }
    }
    let leeway_ms = history.tolerances.clock_leeway_ms;
    for ((user, room, _), mut lives) in lives {
        lives.sort_by_key(|life| life.from_ms);
        for pair in lives.windows(2) {
            let [one, other] = pair else { continue };
            let ends_ms = one.to_ms.saturating_sub(leeway_ms);
            if one.born == other.born && other.from_ms < ends_ms {
                let text = format!(
                    "{room}: {user} has the places {} and {} at once",
                    one.place.number, other.place.number
                );
                let records = [one.first.record, other.first.record];
                found.push(Violation::new("Q3", text, records));
            }
        }
    }
}

/// Q3, over any loss: two activations of a user never hold slots at once.
fn one_turn(history: &History, turns: &Turns, found: &mut Vec<Violation>) {
    let leeway_ms = history.tolerances.clock_leeway_ms;
    let mut of_user: HashMap<(&UserId, &RoomId), Vec<_>> = HashMap::new();
    for turn in turns.by_id.values() {
        of_user
            .entry((&turn.user, &turn.spot.0))
            .or_default()
            .push(turn);
    }
    for ((user, room), mut turns) in of_user {
        turns.sort_by_key(|turn| turn.seen_ms);
        for pair in turns.windows(2) {
            let [one, other] = pair else { continue };
            // Two activations of one place are Q8's.
            if one.spot != other.spot && other.seen_ms < one.holds_until_ms(leeway_ms) {
                let text = format!("{room}: {user} has two activations at once");
                found.push(Violation::new("Q3", text, [one.record, other.record]));
            }
        }
    }
}
