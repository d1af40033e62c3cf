//! What the metrics say of one kind of reads.

use metrics::{Counter, Histogram};

use crate::metrics::{CATALOG_AGE, CATALOG_READS, Metrics};

pub struct Figures {
    hits: Counter,
    misses: Counter,
    refreshes: Counter,
    age: Histogram,
}

impl Figures {
    pub fn new(metrics: &Metrics, what: &'static str) -> Self {
        let reads = |outcome| metrics.counter(&CATALOG_READS, &[what, outcome]);
        Self {
            hits: reads("hit"),
            misses: reads("miss"),
            refreshes: reads("refresh"),
            age: metrics.histogram(&CATALOG_AGE, &[what]),
        }
    }

    pub fn hit(&self, age_ms: u64) {
        self.hits.increment(1);
        let age_ms = u32::try_from(age_ms).unwrap_or(u32::MAX);
        self.age.record(f64::from(age_ms) / 1_000.0);
    }

    pub fn miss(&self) {
        self.misses.increment(1);
    }

    pub fn refresh(&self) {
        self.refreshes.increment(1);
    }
}
