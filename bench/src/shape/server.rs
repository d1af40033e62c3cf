//! What the server says of itself, and what it used.

use crate::error::BenchError;
use crate::meter;
use crate::scrape::Metrics;
use crate::target::Target;

/// A server's counts so far.
#[derive(Debug, Default, Clone)]
pub struct Server {
    /// Unset where its process is not known.
    pub cpu_s: Option<f64>,
    pub rss_kib: Option<f64>,
    pub catalog_hits: f64,
    pub catalog_misses: f64,
    /// 95th percentile of the last second's waits for the database.
    pub database_wait_s: f64,
}

impl Server {
    pub async fn of(target: &Target) -> Result<Self, BenchError> {
        let metrics = Metrics::of(target.addr).await?;
        Ok(Self {
            cpu_s: target.pid.and_then(meter::cpu_s),
            rss_kib: target.pid.and_then(meter::rss_kib),
            catalog_hits: metrics.sum("usher_catalog_reads", "outcome=\"hit\""),
            catalog_misses: metrics.sum("usher_catalog_reads", "outcome=\"miss\""),
            database_wait_s: metrics.sum("usher_sql_wait", ""),
        })
    }

    /// What was used since then; memory and waits are as they are.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu_s: self
                .cpu_s
                .zip(before.cpu_s)
                .map(|(after, before)| after - before),
            catalog_hits: self.catalog_hits - before.catalog_hits,
            catalog_misses: self.catalog_misses - before.catalog_misses,
            ..self.clone()
        }
    }

    /// Rows of a table: what it used while so many calls were made.
    pub fn rows(&self, elapsed_s: f64, calls: f64) -> Vec<(&'static str, Option<f64>)> {
        let reads = self.catalog_hits + self.catalog_misses;
        let kept_percent = 100.0 * self.catalog_hits / reads.max(1.0);
        vec![
            (
                "server CPU, %",
                self.cpu_s.map(|cpu_s| 100.0 * cpu_s / elapsed_s.max(0.001)),
            ),
            (
                "server CPU, us a call",
                self.cpu_s.map(|cpu_s| cpu_s * 1e6 / calls.max(1.0)),
            ),
            (
                "server memory at the end, MiB",
                self.rss_kib.map(|kib| kib / 1_024.0),
            ),
            (
                "catalog reads from memory, %",
                (reads > 0.0).then_some(kept_percent),
            ),
            (
                "wait for the database at the end, p95, ms",
                Some(self.database_wait_s * 1_000.0),
            ),
        ]
    }
}
