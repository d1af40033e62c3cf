//! Gauges of what waits in the outbox.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;

use crate::domain::time::UnixMs;
use crate::metrics::{Metrics, OUTBOX_DEAD, OUTBOX_OLDEST, OUTBOX_PENDING};
use crate::store::outbox::{Backlog, Outbox as _};

use super::node::Node;

const INTERVAL: Duration = Duration::from_secs(1);

struct Gauges {
    pending: Gauge,
    oldest: Gauge,
    dead: Gauge,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        Self {
            pending: metrics.gauge(&OUTBOX_PENDING, &[]),
            oldest: metrics.gauge(&OUTBOX_OLDEST, &[]),
            dead: metrics.gauge(&OUTBOX_DEAD, &[]),
        }
    }

    fn show(&self, backlog: &Backlog, now: UnixMs) {
        let count = |events| f64::from(u32::try_from(events).unwrap_or(u32::MAX));
        let oldest_ms = backlog.oldest.map_or(0, |oldest| oldest.until_ms(now));
        self.pending.set(count(backlog.pending));
        self.oldest
            .set(Duration::from_millis(oldest_ms).as_secs_f64());
        self.dead.set(count(backlog.dead));
    }
}

impl Node {
    /// Shows the backlog each second. While the database is away the last
    /// figures stand.
    pub fn report_backlog(&self, metrics: &Metrics) {
        let gauges = Arc::new(Gauges::new(metrics));
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        self.every("backlog", INTERVAL, move || {
            let (gauges, store) = (Arc::clone(&gauges), Arc::clone(&store));
            let clock = Arc::clone(&clock);
            async move {
                match store.backlog().await {
                    Ok(backlog) => gauges.show(&backlog, clock.now()),
                    Err(error) => tracing::warn!(error = %error, "outbox not counted"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_shown_with_the_age_of_its_oldest() {
        let metrics = Metrics::new();
        let gauges = Gauges::new(&metrics);
        let waiting = Backlog {
            pending: 3,
            dead: 1,
            oldest: Some(UnixMs(500)),
        };
        gauges.show(&waiting, UnixMs(2_000));
        let text = metrics.render();
        for line in [
            "usher_outbox_pending 3",
            "usher_outbox_oldest_age_seconds 1.5",
            "usher_outbox_dead 1",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
        gauges.show(&Backlog::default(), UnixMs(2_000));
        assert!(
            metrics
                .render()
                .contains("usher_outbox_oldest_age_seconds 0")
        );
    }
}
