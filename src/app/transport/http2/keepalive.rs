//! Asks a peer for a sign of life, each `keepalive_interval_ms`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// Costs one timer per connection.
pub(super) struct Keepalive {
    pings: Option<PingPong>,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    is_asking: bool,
}

impl Keepalive {
    pub(super) fn new(pings: Option<PingPong>, interval: Duration, timeout: Duration) -> Self {
        Self {
            pings,
            interval,
            timeout,
            timer: Box::pin(sleep(interval)),
            is_asking: false,
        }
    }

    /// Ready, once, when the peer gave no sign of life in time.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        loop {
            if self.is_asking && pings.poll_pong(cx).is_ready() {
                self.is_asking = false;
                self.timer.as_mut().reset(Instant::now() + self.interval);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.is_asking {
                self.pings = None;
                return Poll::Ready(());
            }
            // It cannot be sent on a connection that is ending anyway.
            self.is_asking = pings.send_ping(Ping::opaque()).is_ok();
            let pause = match self.is_asking {
                true => self.timeout,
                false => self.interval,
            };
            self.timer.as_mut().reset(Instant::now() + pause);
        }
    }
}
