//! What a round came to, and what the server says of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::BenchError;
use crate::meter;
use crate::spread::Spread;
use crate::tally::Times;
use crate::target::Target;

/// A server's counts so far.
pub struct Server {
    cpu_s: f64,
    hits: f64,
    misses: f64,
    /// 95th percentile of the last second's waits for the database.
    wait_s: f64,
}

impl Server {
    pub async fn of(target: &Target) -> Result<Self, BenchError> {
        let mut stream = TcpStream::connect(target.addr).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let sum = |name: &str, label: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let values = lines.filter(|line| line.contains(label));
            let value = |line: &str| {
                line.rsplit(' ')
                    .next()
                    .and_then(|text| text.parse::<f64>().ok())
            };
            values.filter_map(value).sum::<f64>()
        };
        Ok(Self {
            cpu_s: target.pid.and_then(meter::cpu_s).unwrap_or_default(),
            hits: sum("usher_catalog_reads", "outcome=\"hit\""),
            misses: sum("usher_catalog_reads", "outcome=\"miss\""),
            wait_s: sum("usher_sql_wait", ""),
        })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            wait_s: self.wait_s,
        }
    }
}

pub struct Round {
    pub per_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
    pub failed: u64,
    hit_percent: f64,
    /// The server's CPU microseconds per call.
    cpu_us: f64,
    wait_ms: f64,
}

impl Round {
    pub fn of(times: &Times, failed: u64, elapsed: Duration, server: Server) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let calls = times.count().max(1) as f64;
        Self {
            per_s: calls / elapsed.as_secs_f64(),
            p50_ms: times.quantile_ms(0.5),
            p95_ms: times.quantile_ms(0.95),
            max_ms: times.quantile_ms(1.0),
            failed,
            hit_percent: 100.0 * server.hits / (server.hits + server.misses).max(1.0),
            cpu_us: server.cpu_s * 1e6 / calls,
            wait_ms: server.wait_s * 1_000.0,
        }
    }
}

pub fn shown(name: &str, round: &Round) -> String {
    format!(
        "{name:<15} {:>7.0}/s, p50 {:.2} ms, p95 {:.2}, max {:.1}, {} failed, {:.2} % hits, \
         server CPU {:.0} us each",
        round.per_s,
        round.p50_ms,
        round.p95_ms,
        round.max_ms,
        round.failed,
        round.hit_percent,
        round.cpu_us
    )
}

/// Medians, with the lowest and the highest.
pub fn show(name: &str, rounds: &[Round]) {
    let of = |read: fn(&Round) -> f64| Spread::of(rounds.iter().map(read));
    let failed: u64 = rounds.iter().map(|round| round.failed).sum();
    println!(
        "{name:<15} {}/s, p50 {} ms, p95 {}, max {}, {failed} failed, {} % hits, server CPU {} us \
         each, wait for the database p95 {} ms",
        of(|round| round.per_s),
        of(|round| round.p50_ms),
        of(|round| round.p95_ms),
        of(|round| round.max_ms),
        of(|round| round.hit_percent),
        of(|round| round.cpu_us),
        of(|round| round.wait_ms),
    );
}
