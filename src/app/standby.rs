//! Figures of the standby, where there is one.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};

use crate::metrics::{Metrics, STANDBY_LAG, STANDBY_READS};
use crate::store::sql::StandbyFigures;

use super::node::Node;

const INTERVAL: Duration = Duration::from_millis(500);

struct Shown {
    lag: Gauge,
    reads: Vec<Counter>,
}

impl Shown {
    fn new(metrics: &Metrics, first: &StandbyFigures) -> Self {
        let counter = |outcome| metrics.counter(&STANDBY_READS, &[outcome]);
        Self {
            lag: metrics.gauge(&STANDBY_LAG, &[]),
            reads: first.reads.map(|(outcome, _)| counter(outcome)).into(),
        }
    }

    fn show(&self, figures: &StandbyFigures) {
        self.lag.set(figures.lag.as_secs_f64());
        for (counter, (_, count)) in self.reads.iter().zip(figures.reads) {
            counter.absolute(count);
        }
    }
}

impl Node {
    /// Shows how the standby does; nothing, without one.
    pub fn report_standby(&self, metrics: &Metrics) {
        let Some(first) = self.store.standby_figures() else {
            return;
        };
        let (shown, store) = (Shown::new(metrics, &first), Arc::clone(&self.store));
        self.every("standby", INTERVAL, move || {
            if let Some(figures) = store.standby_figures() {
                shown.show(&figures);
            }
            std::future::ready(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standbys_lag_and_who_answered_are_shown() {
        let metrics = Metrics::new();
        let mut figures = StandbyFigures {
            lag: Duration::from_millis(1_500),
            reads: ["standby", "behind", "changed", "away", "absent"].map(|name| (name, 0)),
        };
        let shown = Shown::new(&metrics, &figures);
        figures.reads[1].1 = 7;
        shown.show(&figures);
        shown.show(&figures);
        let text = metrics.render();
        for line in [
            "usher_sql_standby_lag_seconds 1.5",
            "usher_sql_standby_reads_total{outcome=\"behind\"} 7",
            "usher_sql_standby_reads_total{outcome=\"standby\"} 0",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }
}
