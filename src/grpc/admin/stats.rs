//! `WatchRoomStats`: a room's counters once a second, rates from differences.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::domain::ids::RoomId;
use crate::domain::time::UnixMs;
use crate::fanout::PushDelay;
use crate::proto::v1 as wire;
use crate::store::queue::RoomCounts;

use super::super::decode;
use super::super::edge::{Edge, Messages};
use super::super::encode;
use super::super::queue::rooms::encode_room;
use super::super::status::Refusal;
use super::Admin;

const INTERVAL_MS: u64 = 1_000;

struct Stats {
    edge: Arc<Edge>,
    room: RoomId,
    before: Option<(UnixMs, RoomCounts)>,
    next_at: Instant,
    is_over: bool,
}

impl Admin {
    pub(super) fn watch_stats(
        &self,
        message: &wire::WatchRoomStatsRequest,
    ) -> Result<Messages<wire::WatchRoomStatsResponse>, Refusal> {
        let room = decode::room_id("room_id", &message.room_id)?;
        self.edge.engine.rooms().get(&room)?;
        let stats = Stats {
            edge: Arc::clone(&self.edge),
            room,
            before: None,
            next_at: Instant::now(),
            is_over: false,
        };
        let messages = stream::unfold(stats, |mut stats| async move {
            if stats.is_over {
                return None;
            }
            let edge = Arc::clone(&stats.edge);
            let message = edge.unless_draining(stats.next()).await;
            let message = message.and_then(|message| message);
            stats.is_over = message.is_err();
            Some((message, stats))
        });
        self.edge.until_stalled(messages)
    }
}

impl Stats {
    async fn next(&mut self) -> Result<wire::WatchRoomStatsResponse, Status> {
        sleep_until(self.next_at).await;
        self.next_at = Instant::now() + Duration::from_millis(INTERVAL_MS);
        self.look().await.map_err(|refusal| {
            self.is_over = true;
            refusal.into_status(self.edge.entropy.fraction())
        })
    }

    async fn look(&mut self) -> Result<wire::WatchRoomStatsResponse, Refusal> {
        let engine = &self.edge.engine;
        let counts = engine.room_counts(&self.room).await?;
        let record = engine.rooms().get(&self.room)?.record();
        let now = self.edge.now();
        let (then, before) = self.before.replace((now, counts)).unwrap_or((now, counts));
        let span_ms = then.until_ms(now);
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), span_ms);
        let cell = self.edge.views.get(&self.room);
        let hub = &self.edge.hub;
        let streams = hub.streams_of(&self.room);
        Ok(wire::WatchRoomStatsResponse {
            as_of: Some(encode::timestamp(now)),
            cursor: cell.and_then(|cell| cell.cursor()).map(encode::cursor),
            state: encode_room(&self.edge, &record).state,
            waiting: counts.waiting,
            absent: counts.absent,
            granting: counts.granting,
            activated: counts.activated,
            active: counts.active,
            joins_per_second: rate(counts.joins_total, before.joins_total),
            activations_per_second: rate(counts.activations_total, before.activations_total),
            unclaimed: counts.unclaimed_total,
            departures_per_second: rate(counts.departures_total, before.departures_total),
            push_delay: hub.push_delay(&self.room).map(delay_quantiles),
            streams: u64::try_from(streams).unwrap_or(u64::MAX),
        })
    }
}

fn delay_quantiles(delay: PushDelay) -> wire::DelayQuantiles {
    let span = |ms| Some(encode::duration(ms));
    wire::DelayQuantiles {
        p50: span(delay.p50_ms),
        p95: span(delay.p95_ms),
        p99: span(delay.p99_ms),
        max: span(delay.max_ms),
    }
}

fn per_second(count: u64, span_ms: u64) -> f64 {
    if span_ms == 0 {
        return 0.0;
    }
    count as f64 * 1_000.0 / span_ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_and_zero_at_first() {
        assert!((per_second(50, 500) - 100.0).abs() < 1e-9);
        assert!(per_second(50, 0).abs() < 1e-9);
    }
}
