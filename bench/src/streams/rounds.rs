//! What is measured again and again: broadcasts, and at last everyone's turn.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Options;
use super::side::{Side, per};
use crate::driver::order::Quantiles;
use crate::error::BenchError;

/// What a broadcast leaves to be done is done.
const REST: Duration = Duration::from_millis(300);

/// Milliseconds from the answer to the operator's call.
#[derive(Debug, Clone)]
pub struct Broadcast {
    pub call_ms: f64,
    pub first_ms: f64,
    pub median_ms: f64,
    pub p99_ms: f64,
    pub last_ms: f64,
    pub got: u64,
    pub missing: u64,
    pub repeated: u64,
    pub at_us: Quantiles,
    pub answered_us: u64,
}

#[derive(Debug)]
pub struct Round {
    pub broadcasts: Vec<Broadcast>,
    /// Server CPU microseconds per message, the operator's calls included.
    pub cpu_us: f64,
    /// Of these, the same calls where nobody listens, and idling meanwhile.
    pub calls_us: f64,
}

/// Everyone's turn.
#[derive(Debug)]
pub struct Turns {
    pub rate_per_s: f64,
    pub elapsed_s: f64,
    pub cpu_s: f64,
    /// Streams that had not ended.
    pub left: u32,
}

impl Side {
    pub async fn broadcast(&mut self, patience_s: u64) -> Result<Broadcast, BenchError> {
        self.drivers.expect(self.marker() + 1, patience_s).await?;
        let (asked, answered) = self.tell().await?;
        let received = self.drivers.received().await?;
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let (asked, answered_us) = (asked as f64, answered as f64);
        let after = |part| (received.at_us.part(part) - answered_us) / 1_000.0;
        Ok(Broadcast {
            call_ms: (answered_us - asked) / 1_000.0,
            first_ms: after(0),
            median_ms: after(50),
            p99_ms: after(99),
            last_ms: after(100),
            got: received.at_us.count,
            missing: received.missing,
            repeated: received.repeated,
            at_us: received.at_us,
            answered_us: answered,
        })
    }

    pub async fn round(&mut self, options: &Options) -> Result<Round, BenchError> {
        let (began, began_at) = (self.cpu_s().await?, Instant::now());
        let mut broadcasts = Vec::new();
        for _ in 0..options.broadcasts.max(1) {
            broadcasts.push(self.broadcast(options.patience).await?);
        }
        sleep(REST).await;
        let used = self.cpu_s().await? - began;
        let got: u64 = broadcasts.iter().map(|broadcast| broadcast.got).sum();
        let got = u32::try_from(got).unwrap_or(u32::MAX);
        let took = began_at.elapsed();
        // The calls alone, in as much time, so that idling is in both.
        let (began, began_at) = (self.cpu_s().await?, Instant::now());
        if !self.is_floor() {
            for _ in 0..options.broadcasts.max(1) {
                self.tell_nobody().await?;
            }
        }
        sleep(took.saturating_sub(began_at.elapsed())).await;
        let calls = self.cpu_s().await? - began;
        Ok(Round {
            broadcasts,
            cpu_us: per(used, got),
            calls_us: per(calls, got),
        })
    }
}

/// The room goes on, and everyone's turn comes and, unclaimed, goes.
pub async fn activate(
    side: &mut Side,
    options: &Options,
    rate_per_s: f64,
) -> Result<Turns, BenchError> {
    let window_s = u64::try_from(options.claim_window).unwrap_or(0);
    side.drivers.judge(rate_per_s, window_s * 1_000).await?;
    let (began, began_at) = (side.cpu_s().await?, Instant::now());
    side.resume().await?;
    let left = side.drivers.ends(window_s + options.patience).await?;
    Ok(Turns {
        rate_per_s,
        elapsed_s: began_at.elapsed().as_secs_f64(),
        cpu_s: side.cpu_s().await? - began,
        left,
    })
}
