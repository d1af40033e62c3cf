//! The shapes: what the source reports measured, how, with what result, and
//! what is promised for the same here.
//!
//! Times are of single calls, in milliseconds, where nothing else is said. The
//! reports' own remarks on their figures are in `said`.

mod line;
mod lists;

use crate::stage::RoomPlan;

/// A figure that reports have and we measure too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    Calls,
    CallsPerS,
    Journeys,
    FailedPercent,
    MeanMs,
    P50Ms,
    P90Ms,
    P95Ms,
    MaxMs,
}

impl Metric {
    pub const ALL: [Self; 9] = [
        Self::Calls,
        Self::CallsPerS,
        Self::Journeys,
        Self::FailedPercent,
        Self::MeanMs,
        Self::P50Ms,
        Self::P90Ms,
        Self::P95Ms,
        Self::MaxMs,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::CallsPerS => "calls/s",
            Self::Journeys => "journeys finished",
            Self::FailedPercent => "failed, %",
            Self::MeanMs => "mean, ms",
            Self::P50Ms => "p50, ms",
            Self::P90Ms => "p90, ms",
            Self::P95Ms => "p95, ms",
            Self::MaxMs => "max, ms",
        }
    }
}

/// What the source report has.
#[derive(Debug)]
pub struct Source {
    pub hardware: &'static str,
    pub figures: &'static [(Metric, f64)],
    /// What no figure says.
    pub said: &'static str,
}

/// What one user does, in pauses of seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scenario {
    /// A place in the line, and nothing else.
    Issue,
    /// A place, then a look at it in each interval until the turn has come.
    Wait { every_s: f64 },
    /// The same for so many looks at most; then the dates and the seats.
    Visit { every_s: f64, looks_max: u32 },
    /// The whole journey to the paid seat.
    Buy,
    /// One page of concerts.
    ListPage,
    /// All pages of concerts.
    ListAll,
    /// A place, a sleep that begins with it, then the dates so many times.
    Dates {
        asleep_s: f64,
        looks: u32,
        every_s: f64,
    },
    /// One look at a place per interval: the rate is that of the users.
    Paced { every_s: f64 },
}

/// Who comes for each journey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Users {
    /// One who was never here.
    Fresh,
    /// One of so many, at random.
    OneOf(u32),
}

/// Of which runs a promise speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    AsWritten,
    Arrivals,
    /// Users watch instead of polling.
    Watching,
    Polling,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    /// Counted: broken, the command fails.
    NoneFailed,
    AllActivated,
    AllFinished,
    /// Measured: told, never asserted.
    P95BelowMs(f64),
    P99BelowMs(f64),
    /// From the turn to its receipt.
    TurnP95BelowMs(f64),
    CallsPerSAbove(f64),
}

#[derive(Debug)]
pub struct Shape {
    pub id: &'static str,
    pub title: &'static str,
    pub scenario: Scenario,
    pub users: Users,
    /// Where the number of users goes to from none, and in how many seconds.
    pub stages: &'static [(f64, f64)],
    /// Journeys of one user; none: as long as there are users.
    pub journeys_each: Option<u32>,
    /// The mean rate at which journeys began there.
    pub per_minute: f64,
    /// Turns per second, and how long one may be left unanswered.
    pub turns_per_s: f64,
    pub claim_window_s: i64,
    /// Concerts to be listed.
    pub concerts: usize,
    pub source: Source,
    pub promises: &'static [(When, Promise)],
    /// What a replay cannot know or does otherwise.
    pub remark: &'static str,
}

impl Shape {
    /// Only the rate lets users wait.
    pub fn room(&self) -> RoomPlan {
        RoomPlan {
            capacity: 10_000_000,
            rate_per_s: self.turns_per_s,
            claim_window_s: self.claim_window_s,
            pass_ttl_s: 600,
            absence_grace_s: None,
        }
    }

    /// Whether journeys come to a turn.
    pub fn has_turns(&self) -> bool {
        !matches!(
            self.scenario,
            Scenario::Issue | Scenario::ListPage | Scenario::ListAll | Scenario::Paced { .. }
        )
    }

    /// Whether users wait for a turn, so that they could also watch.
    pub fn waits(&self) -> bool {
        matches!(
            self.scenario,
            Scenario::Wait { .. } | Scenario::Visit { .. }
        )
    }
}

pub fn find(id: &str) -> Option<&'static Shape> {
    all().find(|shape| shape.id.eq_ignore_ascii_case(id))
}

/// In the order of the reports.
pub fn all() -> impl Iterator<Item = &'static Shape> {
    line::LINE.iter().chain(lists::LISTS)
}

const NONE_FAILED: (When, Promise) = (When::Always, Promise::NoneFailed);
const ALL_ACTIVATED: (When, Promise) = (When::Always, Promise::AllActivated);
const FAST: (When, Promise) = (When::Always, Promise::P95BelowMs(50.0));

/// What most shapes have; each names what it has otherwise.
const PLAIN: Shape = Shape {
    id: "",
    title: "",
    scenario: Scenario::Issue,
    users: Users::Fresh,
    stages: &[],
    journeys_each: None,
    per_minute: 0.0,
    turns_per_s: 300.0,
    claim_window_s: 60,
    concerts: 0,
    source: Source {
        hardware: "",
        figures: &[],
        said: "",
    },
    promises: &[NONE_FAILED],
    remark: "",
};

/// So many users who each make one call a second: k6 and ghz can do the same.
pub const PACED: Shape = Shape {
    id: "paced",
    title: "one look at a place per user and second",
    scenario: Scenario::Paced { every_s: 1.0 },
    stages: &[(1.0, 0.0), (1.0, 1.0)],
    per_minute: 60.0,
    ..PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_the_reports_is_there_once() {
        let ids: Vec<&str> = all().map(|shape| shape.id).collect();
        let expected = [
            "L1", "L2a", "L2b", "L3", "L4", "L5", "L6", "L7", "L8", "L9", "L10", "L11", "L12",
            "L13",
        ];
        assert_eq!(ids, expected);
        assert!(find("l2A").is_some());
        assert!(
            find("L14").is_none(),
            "its report says no load: `coupons` is a command of its own"
        );
    }

    #[test]
    fn every_shape_says_what_it_is_compared_with_and_what_it_promises() {
        for shape in all() {
            let Shape { id, source, .. } = shape;
            assert!(!shape.title.is_empty(), "{id}");
            assert!(!source.hardware.is_empty(), "{id}");
            assert!(
                !source.figures.is_empty() || !source.said.is_empty(),
                "{id}"
            );
            assert!(
                source.figures.is_sorted_by_key(|(metric, _)| *metric),
                "{id}"
            );
            assert!(shape.promises.contains(&NONE_FAILED), "{id}");
            assert!(shape.per_minute > 0.0 && shape.turns_per_s > 0.0, "{id}");
        }
    }

    #[test]
    fn lists_have_concerts_and_those_who_poll_can_watch() {
        for shape in all() {
            let lists = matches!(shape.scenario, Scenario::ListPage | Scenario::ListAll);
            assert_eq!(shape.concerts > 0, lists, "{}", shape.id);
            let watching = |(when, _): &(When, Promise)| *when == When::Watching;
            assert!(
                shape.waits() || !shape.promises.iter().any(watching),
                "{}",
                shape.id
            );
        }
    }
}
