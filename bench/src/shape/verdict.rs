//! What a run came to: theirs beside ours, and which promises it kept.

use serde_json::Value;

use super::drive::Journeys;
use super::profile::{Profile, Variant};
use super::server::Server;
use super::table::{Metric, Promise, Shape, When};
use super::user::{CALLS, LATE, RECEIPT};
use crate::report::{Cell, Report, Table};
use crate::tally::{Tally, Times};

/// An operation of the sale that others win is answered, not failed.
const TAKEN: &str = "HoldSeats SEAT_UNAVAILABLE";
/// A step to the limit breaks above this where nothing else is promised.
const P95_MS: f64 = 50.0;

/// How a shape was run.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub shape: &'static Shape,
    pub variant: Variant,
    pub profile: Profile,
    pub watching: bool,
}

impl How {
    fn concerns(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::AsWritten => self.variant == Variant::AsWritten,
            When::Arrivals => self.variant != Variant::AsWritten,
            When::Watching => self.watching,
            When::Polling => !self.watching,
        }
    }

    fn promises(&self) -> impl Iterator<Item = Promise> {
        let all = self.shape.promises.iter();
        all.filter(|(when, _)| self.concerns(*when))
            .map(|(_, promise)| *promise)
    }

    /// Whether what the table promises is promised here too: not on a way to the
    /// limit, nor beyond the shape.
    fn is_held(&self) -> bool {
        let is_shape = matches!(self.profile, Profile::Load | Profile::Soak);
        is_shape && self.variant != Variant::Knee
    }

    /// Which run of which shape.
    pub fn name(&self) -> String {
        let variant = match self.variant {
            Variant::AsWritten => "as written",
            Variant::Arrivals => "as arrivals",
            Variant::Knee => "to the knee",
        };
        let waiting = match (self.shape.waits(), self.watching) {
            (true, true) => ", watching",
            (true, false) => ", polling",
            (false, _) => "",
        };
        let profile = match self.profile {
            Profile::Load => String::new(),
            other => format!(", {other:?}").to_lowercase(),
        };
        format!("{} {variant}{waiting}{profile}", self.shape.id)
    }
}

/// What was counted and measured in one step.
pub struct Step {
    /// Times the load of the table.
    pub factor: f64,
    pub load: String,
    pub journeys: Journeys,
    pub server: Server,
    calls: Times,
    receipts: Times,
    late: Times,
    /// Answers that were errors or refusals, but for seats that others had.
    failed: u64,
    tally: Value,
}

/// One promise, and what became of it.
struct Judged {
    promise: String,
    found: String,
    kept: bool,
    /// Counted ones must be kept; measured ones depend on the machine.
    counted: bool,
}

#[expect(clippy::cast_precision_loss, reason = "counts of minutes")]
impl Step {
    pub fn of(
        factor: f64,
        load: String,
        journeys: Journeys,
        server: Server,
        tally: &Tally,
    ) -> Self {
        Self {
            factor,
            load,
            journeys,
            server,
            calls: tally.times_of(CALLS),
            receipts: tally.times_of(&[RECEIPT]),
            late: tally.times_of(&[LATE]),
            failed: tally.errors() + tally.refusals_but(TAKEN),
            tally: tally.json(),
        }
    }

    fn elapsed_s(&self) -> f64 {
        self.journeys.elapsed.as_secs_f64()
    }

    pub fn calls_per_s(&self) -> f64 {
        self.calls.count() as f64 / self.elapsed_s().max(0.001)
    }

    pub fn ours(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Calls => self.calls.count() as f64,
            Metric::CallsPerS => self.calls_per_s(),
            Metric::Journeys => self.journeys.finished as f64,
            Metric::FailedPercent => 100.0 * self.failed as f64 / self.calls.count().max(1) as f64,
            Metric::MeanMs => self.calls.mean_ms(),
            Metric::P50Ms => self.calls.quantile_ms(0.5),
            Metric::P90Ms => self.calls.quantile_ms(0.9),
            Metric::P95Ms => self.calls.quantile_ms(0.95),
            Metric::MaxMs => self.calls.quantile_ms(1.0),
        }
    }

    /// Nothing failed, and nobody was told to stay away.
    fn is_whole(&self) -> bool {
        let Journeys {
            refused,
            interrupted,
            ..
        } = self.journeys;
        self.failed + refused + interrupted == 0
    }

    /// Whether a way to the limit ends here: with an error, a dropped arrival,
    /// or answers that take too long. A client that falls behind ends it too.
    pub fn breaks(&self, how: &How) -> bool {
        let limit = how.promises().find_map(|promise| match promise {
            Promise::P95BelowMs(ms) => Some(ms),
            _ => None,
        });
        let limit = limit.unwrap_or(P95_MS);
        let slow = |times: &Times| times.count() > 0 && times.quantile_ms(0.95) >= limit;
        !self.is_whole() || self.journeys.dropped > 0 || slow(&self.calls) || slow(&self.late)
    }

    fn judge(&self, how: &How) -> Vec<Judged> {
        let judged = |promise| self.judge_one(promise);
        how.promises().map(judged).collect()
    }

    fn judge_one(&self, promise: Promise) -> Judged {
        let Journeys {
            begun,
            activated,
            finished,
            dropped,
            ..
        } = self.journeys;
        let counted = |promise: &str, kept, found: String| Judged {
            promise: promise.to_owned(),
            found,
            kept,
            counted: true,
        };
        let of = |part: u64| format!("{part} of {begun}, {dropped} dropped");
        let below = |what: &str, times: &Times, quantile, limit: f64| {
            let ms = times.quantile_ms(quantile);
            Judged {
                promise: format!("{what} below {limit} ms"),
                found: format!("{ms:.2} ms"),
                kept: times.count() > 0 && ms < limit,
                counted: false,
            }
        };
        match promise {
            Promise::NoneFailed => {
                let found = format!(
                    "{} calls failed, {} journeys refused, {} interrupted",
                    self.failed, self.journeys.refused, self.journeys.interrupted
                );
                counted("none failed", self.is_whole(), found)
            }
            Promise::AllActivated => {
                let all = activated == begun && dropped == 0;
                counted("all activated", all, of(activated))
            }
            Promise::AllFinished => {
                let all = finished == begun && dropped == 0;
                counted("all finished", all, of(finished))
            }
            Promise::P95BelowMs(ms) => below("p95", &self.calls, 0.95, ms),
            Promise::P99BelowMs(ms) => below("p99", &self.calls, 0.99, ms),
            Promise::TurnP95BelowMs(ms) => below("turn to receipt p95", &self.receipts, 0.95, ms),
            Promise::CallsPerSAbove(limit) => {
                let rate = self.calls_per_s();
                Judged {
                    promise: format!("above {limit:.0} calls/s"),
                    found: format!("{rate:.0} calls/s"),
                    kept: rate > limit,
                    counted: false,
                }
            }
        }
    }

    /// Adds what was found; broken counts are broken promises of the report.
    pub fn tell(&self, how: &How, report: &mut Report) {
        let name = format!("{}, {} x", how.name(), self.factor);
        report.table(self.beside(how, &name));
        let mut promises = Table::new(&format!("{name}: promised"), ["", "", "found"]);
        for one in self.judge(how) {
            let Judged {
                promise,
                found,
                kept,
                ..
            } = one;
            promises = promises.row([
                promise.clone().into(),
                verdict(kept, one.counted).into(),
                found.clone().into(),
            ]);
            let held = kept || !one.counted || !how.is_held();
            report.promise(held, || format!("{name}: {promise}: {found}"));
        }
        report.table(promises);
        report.table(self.times(&name));
        report.table(self.refusals(&name));
    }

    /// Theirs beside ours.
    fn beside(&self, how: &How, name: &str) -> Table {
        let journeys = &self.journeys;
        let title = format!("{name}: {} ({})", how.shape.title, self.load);
        let mut table = Table::new(&title, ["", "theirs", "ours"]);
        for metric in Metric::ALL {
            let theirs = theirs(how.shape, metric);
            table = table.row([
                metric.name().into(),
                theirs.into(),
                self.ours(metric).into(),
            ]);
        }
        let activated = how.shape.has_turns().then_some(journeys.activated);
        let counts = [
            ("journeys begun", Some(journeys.begun)),
            ("activated", activated),
            ("not admitted in time", Some(journeys.not_admitted)),
            ("refused", Some(journeys.refused)),
            ("interrupted", Some(journeys.interrupted)),
            ("arrivals dropped", Some(journeys.dropped)),
        ];
        for (what, count) in counts {
            table = table.row([what.into(), Cell::Unknown, count.into()]);
        }
        let calls = self.calls.count() as f64;
        for (what, figure) in self.server.rows(self.elapsed_s(), calls) {
            table = table.row([what.into(), Cell::Unknown, figure.into()]);
        }
        table
    }

    /// Times of each kind of call.
    fn times(&self, name: &str) -> Table {
        let columns = ["", "count", "p50", "p95", "p99", "max"];
        let mut table = Table::new(&format!("{name}: times, ms"), columns);
        for (what, times) in self.tally["times"].as_object().into_iter().flatten() {
            let figure = |name: &str| Cell::from(times[name].as_f64());
            table = table.row([
                what.as_str().into(),
                times["count"].as_u64().into(),
                figure("p50_ms"),
                figure("p95_ms"),
                figure("p99_ms"),
                figure("max_ms"),
            ]);
        }
        table
    }

    /// What was not answered as asked.
    fn refusals(&self, name: &str) -> Table {
        let title = format!("{name}: refusals and errors");
        let mut table = Table::new(&title, ["", "", "count"]);
        for kind in ["refusals", "errors"] {
            for (what, count) in self.tally[kind].as_object().into_iter().flatten() {
                table = table.row([kind.into(), what.as_str().into(), count.as_u64().into()]);
            }
        }
        table
    }
}

fn verdict(kept: bool, counted: bool) -> &'static str {
    match (kept, counted) {
        (true, _) => "kept",
        (false, true) => "BROKEN",
        (false, false) => "not here",
    }
}

pub fn theirs(shape: &Shape, metric: Metric) -> Option<f64> {
    let mut figures = shape.source.figures.iter();
    figures
        .find(|(theirs, _)| *theirs == metric)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table;
    use super::*;

    fn how(id: &str, variant: Variant, profile: Profile) -> How {
        How {
            shape: table::find(id).expect("in the table"),
            variant,
            profile,
            watching: false,
        }
    }

    fn step(journeys: Journeys, tally: &Tally) -> Step {
        Step::of(1.0, String::new(), journeys, Server::default(), tally)
    }

    /// How many promises of a report it breaks.
    fn broken(step: &Step, how: &How) -> usize {
        let mut report = Report::new("one");
        step.tell(how, &mut report);
        report.broken.len()
    }

    fn ten() -> Journeys {
        Journeys {
            begun: 10,
            activated: 10,
            finished: 10,
            elapsed: Duration::from_secs(2),
            ..Journeys::default()
        }
    }

    #[test]
    fn one_failed_call_breaks_what_is_counted() {
        let how = how("L4", Variant::AsWritten, Profile::Load);
        let tally = Tally::default();
        (0..10).for_each(|_| tally.time("Join", Duration::from_millis(5)));
        assert_eq!(broken(&step(ten(), &tally), &how), 0);
        tally.error("Join", "OVERLOADED");
        let failed = step(ten(), &tally);
        assert_eq!(broken(&failed, &how), 1);
        assert!((failed.ours(Metric::FailedPercent) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn someone_who_is_not_activated_breaks_it_too() {
        let how = how("L1", Variant::AsWritten, Profile::Load);
        let tally = Tally::default();
        let left_out = Journeys {
            activated: 9,
            finished: 9,
            not_admitted: 1,
            ..ten()
        };
        assert_eq!(broken(&step(left_out, &tally), &how), 1);
    }

    #[test]
    fn times_are_told_and_never_asserted() {
        let how = how("L4", Variant::AsWritten, Profile::Load);
        let tally = Tally::default();
        tally.time("GetPlace", Duration::from_secs(5));
        let slow = step(ten(), &tally);
        let mut report = Report::new("one");
        slow.tell(&how, &mut report);
        let text = report.text();
        assert!(text.contains("p95 below 20 ms"), "{text}");
        assert!(text.contains("not here"), "{text}");
        assert!(report.broken.is_empty());
        assert!(slow.breaks(&how), "on the way to the limit it is the end");
    }

    #[test]
    fn a_load_beyond_the_shape_is_not_held_to_its_promises() {
        let tally = Tally::default();
        tally.error("Join", "OVERLOADED");
        let beyond = step(ten(), &tally);
        let stress = how("L6", Variant::AsWritten, Profile::Stress);
        assert_eq!(broken(&beyond, &stress), 0);
        let knee = how("L6", Variant::Knee, Profile::Load);
        assert_eq!(broken(&beyond, &knee), 0);
        let soak = how("L6", Variant::AsWritten, Profile::Soak);
        assert_eq!(broken(&beyond, &soak), 1);
    }

    #[test]
    fn theirs_stands_beside_ours() {
        let tally = Tally::default();
        tally.time("Join", Duration::from_millis(5));
        let how = how("L6", Variant::Arrivals, Profile::Load);
        let mut report = Report::new("one");
        step(ten(), &tally).tell(&how, &mut report);
        let rows = &report.tables[0].rows;
        let row = rows.iter().find(|row| row[0].text() == "p95, ms");
        let row = row.expect("a row");
        assert_eq!(row[1].text(), "50940");
        assert!(row[2].text().starts_with("5.0"), "{row:?}");
    }
}
