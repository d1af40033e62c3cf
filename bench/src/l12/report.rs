//! What a run of the shape is told by.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use usher::proto::v1::WatchRoomStatsResponse;

use super::LIST;
use crate::tally::Tally;

/// Lines of the course of a run.
const ROWS: usize = 12;

/// The room in one second.
#[derive(Clone, Copy)]
pub struct LineSecond {
    pub waiting: u64,
    /// Had their turn, and have not left.
    pub inside: u64,
    pub turns_per_s: f64,
}

/// Seconds in order.
#[derive(Default)]
pub struct LineLog(Mutex<Vec<LineSecond>>);

impl LineLog {
    pub fn note(&self, stats: &WatchRoomStatsResponse) {
        let second = LineSecond {
            waiting: stats.waiting,
            inside: stats.activated + stats.active,
            turns_per_s: stats.activations_per_second,
        };
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(second);
    }

    pub fn taken(&self) -> Vec<LineSecond> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Default)]
pub struct Report {
    pub users: usize,
    pub activated: usize,
    pub finished: usize,
    pub elapsed: Duration,
    pub line: Vec<LineSecond>,
}

impl Report {
    pub fn text(&self, tally: &Tally) -> String {
        let quantile = |quantile| tally.quantile_ms(LIST, quantile).unwrap_or(0.0) / 1_000.0;
        let longest = self.line.iter().map(|second| second.waiting).max();
        let mut text = format!(
            "{} users, {} activated, {} finished, {:.1} s; sale calls p50 {:.2} s, p95 {:.2}, \
             p99 {:.2}; errors {}, refused {}; longest line {}\n",
            self.users,
            self.activated,
            self.finished,
            self.elapsed.as_secs_f64(),
            quantile(0.5),
            quantile(0.95),
            quantile(0.99),
            tally.errors(),
            tally.refusals_but(""),
            longest.unwrap_or(0),
        );
        let _ = writeln!(
            text,
            "{:>6} {:>8} {:>8} {:>8}",
            "s", "waiting", "inside", "turns/s"
        );
        let row_s = self.line.len().div_ceil(ROWS).max(1);
        for (nth, seconds) in self.line.chunks(row_s).enumerate() {
            let Some(last) = seconds.last() else { continue };
            let at_s = nth * row_s + seconds.len();
            let turns: f64 = seconds.iter().map(|second| second.turns_per_s).sum();
            #[expect(clippy::cast_precision_loss, reason = "seconds of minutes")]
            let turns_per_s = turns / seconds.len() as f64;
            let _ = writeln!(
                text,
                "{at_s:>6} {:>8} {:>8} {turns_per_s:>8.1}",
                last.waiting, last.inside
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_has_a_bounded_number_of_rows() {
        let second = |waiting| LineSecond {
            waiting,
            inside: 1,
            turns_per_s: 2.0,
        };
        let report = Report {
            line: (0..100).map(second).collect(),
            ..Report::default()
        };
        let text = report.text(&Tally::default());
        assert!(text.lines().count() <= ROWS + 2, "{text}");
        assert!(text.contains("longest line 99"), "{text}");
        let last = text.lines().last().expect("a row");
        assert!(last.trim_start().starts_with("100 "), "{last}");
    }
}
