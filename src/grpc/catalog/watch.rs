//! One `WatchSeatMap` stream: what changed, at most ten times a second.
//!
//! It waits for whatever comes first: the bus, a hold's end, the time to look
//! at the pass again, a heartbeat. Nothing is queued: it tells the difference
//! between what was told and what is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;
use crate::proto::v1::watch_seat_map_response::Event;

use super::super::edge::{Edge, Messages};
use super::super::encode::sale::seat;
use super::super::limits::seats::StreamSeat;
use super::super::status::Refusal;
use super::Admitted;
use super::feed::{News, SeatFeed, Told};

/// Changes closer together than this travel together.
const PAUSE_MS: u64 = 100;
/// How often the pass's row is looked at; its end by time is met exactly.
const PASS_CHECK_MS: u64 = 5_000;

/// Where a stream stands, for whoever resumes it. Its text is opaque.
#[must_use]
pub fn encode_cursor(version: u64) -> String {
    format!("v{version}")
}

/// `None`: not a cursor of ours; a snapshot answers it.
#[must_use]
pub fn parse_cursor(text: &str) -> Option<u64> {
    text.strip_prefix('v')?.parse().ok()
}

pub struct SeatWatch {
    edge: Arc<Edge>,
    feed: Arc<SeatFeed>,
    admitted: Admitted,
    news: watch::Receiver<u64>,
    told: Option<Told>,
    next_expiry: Option<UnixMs>,
    pass_checked_at: UnixMs,
    is_first: bool,
    is_over: bool,
    _seat: Option<Arc<StreamSeat>>,
}

impl SeatWatch {
    pub(super) fn new(
        edge: Arc<Edge>,
        feed: Arc<SeatFeed>,
        admitted: Admitted,
        since: Option<u64>,
        seat: Option<Arc<StreamSeat>>,
    ) -> Self {
        let now = edge.now();
        // Holds that ended by time before are in versions the client lacks, or
        // are told once more.
        let told = since.map(|version| Told {
            version,
            at: UnixMs(0),
        });
        Self {
            news: feed.listen(),
            edge,
            feed,
            admitted,
            told,
            next_expiry: None,
            pass_checked_at: now,
            is_first: true,
            is_over: false,
            _seat: seat,
        }
    }

    /// # Errors
    /// TOO_MANY_STREAMS or DRAINING: this node takes no more.
    pub fn into_stream(self) -> Result<Messages<wire::WatchSeatMapResponse>, Refusal> {
        let edge = Arc::clone(&self.edge);
        edge.until_stalled(stream::unfold(self, |mut watch| async move {
            if watch.is_over {
                return None;
            }
            let edge = Arc::clone(&watch.edge);
            let message = match edge.unless_draining(watch.next()).await {
                Ok(message) => {
                    message.map_err(|refusal| refusal.into_status(edge.entropy.fraction()))
                }
                Err(draining) => Err(draining),
            };
            watch.is_over = message.is_err();
            Some((message, watch))
        }))
    }

    async fn next(&mut self) -> Result<wire::WatchSeatMapResponse, Refusal> {
        let silence_max_ms = self.edge.settings.heartbeat_interval_ms;
        let heartbeat_at = Instant::now() + Duration::from_millis(silence_max_ms);
        loop {
            if !self.is_first {
                self.wait(heartbeat_at).await;
            }
            self.check_pass().await?;
            let now = self.edge.now();
            let news = self.feed.read(self.told, now).await?;
            self.next_expiry = news.next_expiry;
            let is_whole = self.told.is_none_or(|told| told.version > news.version);
            let news = match is_whole {
                // A cursor from a database that is no more.
                true if self.told.is_some() => self.feed.read(None, now).await?,
                _ => news,
            };
            let is_first = std::mem::replace(&mut self.is_first, false);
            self.told = Some(Told {
                version: news.version,
                at: now,
            });
            if is_first || !news.seats.is_empty() {
                return Ok(tell(news, is_whole));
            }
            if Instant::now() >= heartbeat_at {
                return Ok(message(news.version, Event::Heartbeat(wire::Heartbeat {})));
            }
        }
    }

    /// Until something may be different.
    async fn wait(&mut self, heartbeat_at: Instant) {
        let until =
            |at: UnixMs, now: UnixMs| Instant::now() + Duration::from_millis(now.until_ms(at));
        let now = self.edge.now();
        let standing = self.admitted.admission.standing.as_ref();
        let pass_at = standing.map(|standing| {
            let check_at = self.pass_checked_at.plus_ms(PASS_CHECK_MS);
            until(
                check_at.min(standing.expire_time.max(now.plus_ms(PAUSE_MS))),
                now,
            )
        });
        let mut wake_at = heartbeat_at;
        wake_at = pass_at.map_or(wake_at, |at| wake_at.min(at));
        if let Some(expiry) = self.next_expiry {
            wake_at = wake_at.min(until(expiry, now));
        }
        tokio::select! {
            changed = self.news.changed() => {
                // Gather what follows closely.
                let pause = Instant::now() + Duration::from_millis(PAUSE_MS);
                sleep_until(if changed.is_ok() { pause } else { wake_at }).await;
            }
            () = sleep_until(wake_at) => {}
        }
    }

    /// Ends the stream with the pass.
    async fn check_pass(&mut self) -> Result<(), Refusal> {
        let Some(standing) = &self.admitted.admission.standing else {
            return Ok(());
        };
        let now = self.edge.now();
        let is_due = now >= self.pass_checked_at.plus_ms(PASS_CHECK_MS);
        if !is_due && now < standing.expire_time {
            return Ok(());
        }
        let Admitted {
            user,
            performance,
            activation,
            ..
        } = &self.admitted;
        self.admitted.admission = self
            .edge
            .sale
            .store()
            .check_pass(user.clone(), performance.clone(), *activation)
            .await?;
        self.pass_checked_at = now;
        Ok(())
    }
}

fn tell(news: News, is_whole: bool) -> wire::WatchSeatMapResponse {
    let seats = news.seats.into_iter().map(seat).collect();
    let event = match is_whole {
        true => Event::Snapshot(wire::SeatMapSnapshot { seats }),
        false => Event::Delta(wire::SeatMapDelta { seats }),
    };
    message(news.version, event)
}

fn message(version: u64, event: Event) -> wire::WatchSeatMapResponse {
    wire::WatchSeatMapResponse {
        cursor: encode_cursor(version),
        event: Some(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_foreign_ones_are_unknown() {
        assert_eq!(parse_cursor(&encode_cursor(17)), Some(17));
        for foreign in ["", "17", "v", "v-1", "v1.5", "v99999999999999999999", "\0"] {
            assert_eq!(parse_cursor(foreign), None, "{foreign:?}");
        }
    }
}
