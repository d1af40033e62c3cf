//! What the hub counts, as metrics.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};

use crate::fanout::HubCounts;
use crate::metrics::{Metrics, STREAMS_ENDED, STREAMS_OPEN, STREAMS_REFUSED};

use super::node::Node;

const INTERVAL: Duration = Duration::from_secs(1);

struct Figures {
    open: Gauge,
    refused: Counter,
    replaced: Counter,
    aged: Counter,
    slow_readers: Counter,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let ended = |reason| metrics.counter(&STREAMS_ENDED, &[reason]);
        Self {
            open: metrics.gauge(&STREAMS_OPEN, &[]),
            refused: metrics.counter(&STREAMS_REFUSED, &["node"]),
            replaced: ended("replaced"),
            aged: ended("aged"),
            slow_readers: ended("slow_reader"),
        }
    }

    fn show(&self, counts: &HubCounts) {
        let open = u32::try_from(counts.streams).unwrap_or(u32::MAX);
        self.open.set(f64::from(open));
        self.refused.absolute(counts.refused_total);
        self.replaced.absolute(counts.replaced_total);
        self.aged.absolute(counts.aged_total);
        self.slow_readers.absolute(counts.slow_readers_total);
    }
}

impl Node {
    /// Shows the hub's counts each second.
    pub fn report_streams(&self, metrics: &Metrics) {
        let figures = Figures::new(metrics);
        let hub = Arc::clone(&self.hub);
        self.every("stream figures", INTERVAL, move || {
            figures.show(&hub.counts());
            std::future::ready(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_shown_under_its_own_name() {
        let metrics = Metrics::new();
        Figures::new(&metrics).show(&HubCounts {
            streams: 2,
            refused_total: 3,
            replaced_total: 4,
            aged_total: 5,
            slow_readers_total: 6,
        });
        let text = metrics.render();
        for line in [
            "usher_streams_open 2",
            "usher_streams_refused_total{limit=\"node\"} 3",
            "usher_streams_ended_total{reason=\"replaced\"} 4",
            "usher_streams_ended_total{reason=\"aged\"} 5",
            "usher_streams_ended_total{reason=\"slow_reader\"} 6",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }
}
