//! What a run of journeys comes to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::Outcome;

#[derive(Default)]
pub(super) struct Report {
    pub mode: &'static str,
    pub users: usize,
    pub activated: usize,
    pub finished: usize,
    /// Arrivals of an open loop that found too many under way.
    pub dropped: usize,
    pub kills: usize,
    /// Journeys that ended early, by where and why.
    ended_early: BTreeMap<String, usize>,
    pub elapsed: Duration,
    pub server_cpu_s: Option<f64>,
    pub tally: Value,
    /// What the audit and the checkers say.
    pub findings: String,
    pub is_clean: bool,
}

impl Report {
    pub fn add(&mut self, outcome: Outcome) {
        self.activated += usize::from(outcome.activated);
        match outcome.finished {
            Ok(()) => self.finished += 1,
            Err(refused) => {
                let where_and_why = format!("{} {}", refused.rpc, refused.reason);
                *self.ended_early.entry(where_and_why).or_default() += 1;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of users")]
    fn journeys_per_s(&self) -> f64 {
        self.finished as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "{} mode: {} users, {} activated, {} finished, {} dropped, {} kills\n\
             {:.2} s, {:.1} journeys/s",
            self.mode,
            self.users,
            self.activated,
            self.finished,
            self.dropped,
            self.kills,
            self.elapsed.as_secs_f64(),
            self.journeys_per_s(),
        );
        if let Some(cpu_s) = self.server_cpu_s {
            let share = 100.0 * cpu_s / self.elapsed.as_secs_f64().max(0.001);
            let _ = write!(text, ", server CPU {cpu_s:.2} s ({share:.0} %)");
        }
        text.push('\n');
        for (where_and_why, count) in &self.ended_early {
            let _ = writeln!(text, "ended early: {count} x {where_and_why}");
        }
        text
    }

    pub fn json(&self) -> Value {
        json!({
            "mode": self.mode,
            "users": self.users,
            "activated": self.activated,
            "finished": self.finished,
            "dropped": self.dropped,
            "kills": self.kills,
            "ended_early": self.ended_early,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "journeys_per_s": self.journeys_per_s(),
            "server_cpu_s": self.server_cpu_s,
            "rpc": self.tally,
            "findings": self.findings,
            "is_clean": self.is_clean,
        })
    }
}
