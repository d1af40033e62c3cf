//! Are the estimates true? Rooms are simulated, and at each tenth of every wait the range given then is held against
//! the wait that was really left.
//!
//! A room is played twice from the same record: first to learn how each wait ends, then tick by tick with the
//! estimator watching only what a node sees, as a node looks: once a second, and at once when the policy changes or
//! the room stops or begins to serve. Naive is the usual `position / rate`, counted as right within ±20 %, a
//! range as wide as the widest allowed here. Nobody foresees a pause or a change of rate: those who were told before
//! are counted against the range like everyone else.

mod report;
mod room;

pub use report::{Report, Tenth};
use room::{Room, Scenario};

use super::super::rank::DepartedRank;
use super::{Estimator, OBSERVE_EVERY_MS, Observation, Wait};

/// Shorter waits have tenths below the pace of positions.
const WAIT_MIN_MS: u64 = 20_000;

/// Plays every kind of room once per seed and pools the answers; the same seeds give the same report.
#[must_use]
pub fn calibrate(seeds: impl IntoIterator<Item = u64>) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        for (index, scenario) in Scenario::all(seed).into_iter().enumerate() {
            let room = Room::play(&scenario, seed.wrapping_mul(31).wrapping_add(index as u64));
            watch(&room, |tenth, left_ms, position, given| {
                let naive_ms = position as f64 / room.rate_at_start * 1000.0;
                report.add(scenario.name, tenth, left_ms, given, naive_ms);
            });
        }
    }
    report
}

/// The state of now, with all that was counted since it was last looked at.
fn gather(before: Option<Observation>, now: Observation) -> Observation {
    let (activated, departed) = before.map_or((0, 0), |before| {
        (before.activated, before.departed_unactivated)
    });
    Observation {
        activated: activated + now.activated,
        departed_unactivated: departed + now.departed_unactivated,
        ..now
    }
}

/// Plays a room's record to an estimator and asks it at each tenth of every wait that ended in a turn.
fn watch(room: &Room, mut answer: impl FnMut(usize, u64, u64, Option<Wait>)) {
    let mut questions: Vec<(u64, usize, u64)> = Vec::new();
    for (order, place) in (1..).zip(&room.places) {
        let from_ms = place.joined_ms;
        let Some(turn_ms) = place
            .turn_ms
            .filter(|&turn_ms| turn_ms >= from_ms + WAIT_MIN_MS)
        else {
            continue;
        };
        questions.extend((0..10).map(|tenth| {
            (
                from_ms + (turn_ms - from_ms) * tenth / 10,
                tenth as usize,
                order,
            )
        }));
    }
    questions.sort_unstable();
    let mut questions = questions.into_iter().peekable();
    let mut departed = DepartedRank::new();
    let mut estimator = Estimator::new();
    let mut gathered: Option<Observation> = None;
    for tick in &room.ticks {
        for &order in &tick.departed {
            departed.insert(order);
        }
        if tick.policy_changed {
            estimator.policy_changed();
        }
        let seen = gather(gathered, tick.seen);
        let serves_as_before = gathered.is_some_and(|before| before.serving == seen.serving);
        gathered = Some(seen);
        if tick.now_ms.is_multiple_of(OBSERVE_EVERY_MS) || tick.policy_changed || !serves_as_before
        {
            estimator.observe(tick.now_ms, &seen);
            gathered = Some(Observation {
                activated: 0,
                departed_unactivated: 0,
                ..seen
            });
        }
        while let Some((_, tenth, order)) = questions.next_if(|&(at_ms, ..)| at_ms <= tick.now_ms) {
            let turn_ms = room.places[order as usize - 1]
                .turn_ms
                .unwrap_or(tick.now_ms);
            let position = order - departed.count_below(order);
            // A place served by this very tick is asked for no longer.
            if turn_ms > tick.now_ms {
                answer(
                    tenth,
                    turn_ms - tick.now_ms,
                    position,
                    estimator.estimate(position),
                );
            }
        }
    }
}
