//! Looks at the sale twice a second, and steers rooms by what it sees.
//!
//! Two measures, each with a target of its own: the 95th percentile of the last
//! second's sale calls (of the slowest method), and of the waits of units of
//! work that someone waits for, for their turn at the database. What has not
//! ended counts with its age, so a database that hangs is strain. The figures are
//! shown whether or not they have a target.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;

use crate::config::SteeringConfig;
use crate::domain::room::steering::permille;
use crate::engine::steering::STEER_INTERVAL_MS;
use crate::metrics::{Metrics, SALE_LATENCY, SQL_CONNECTIONS_MAX, SQL_WAIT};
use crate::store::queue::Strain;
use crate::store::sql::{Pool, SqlStore};

use super::node::Node;

struct Gauges {
    metrics: Metrics,
    sale: Gauge,
    waits: [(Pool, Gauge); 5],
}

impl Gauges {
    fn new(metrics: &Metrics, store: &SqlStore) -> Self {
        for pool in Pool::ALL {
            let most = metrics.gauge(&SQL_CONNECTIONS_MAX, &[pool.name()]);
            most.set(f64::from(store.connections_max(pool)));
        }
        Self {
            sale: metrics.gauge(&SALE_LATENCY, &[]),
            waits: Pool::ALL.map(|pool| (pool, metrics.gauge(&SQL_WAIT, &[pool.name()]))),
            metrics: metrics.clone(),
        }
    }

    /// Shows how long units waited; answers the longest wait that someone of the
    /// sale had.
    fn show_waits_ms(&self, store: &SqlStore) -> f64 {
        let mut longest_ms: f64 = 0.0;
        for (pool, gauge) in &self.waits {
            let wait_ms = store.recent_waits(*pool).look().p95_ms().unwrap_or(0.0);
            gauge.set(wait_ms / 1_000.0);
            if !matches!(pool, Pool::Background | Pool::Standby) {
                longest_ms = longest_ms.max(wait_ms);
            }
        }
        longest_ms
    }
}

/// What is said of one look.
fn strain(settings: &SteeringConfig, sale_ms: f64, wait_ms: f64) -> Strain {
    let sale = permille(sale_ms, settings.sale_latency_target_ms);
    let wait = permille(wait_ms, settings.pool_wait_target_ms);
    Strain {
        permille: sale.max(wait),
        rate_min_fraction: settings.rate_min_fraction,
        settle_ms: settings.settle_ms,
    }
}

impl Node {
    /// Before any room is ticked: rooms begin at their least rates.
    pub(super) fn steer_first(&self, settings: &SteeringConfig) {
        if settings.is_on() {
            self.engine.set_strain(strain(settings, 0.0, 0.0));
        }
    }

    /// Begins to look. `metrics` are those that calls are counted in.
    pub fn steer_rates(&self, settings: &SteeringConfig, metrics: &Metrics) {
        let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
        let (gauges, settings) = (
            Arc::new(Gauges::new(metrics, &self.store)),
            settings.clone(),
        );
        let period = Duration::from_millis(STEER_INTERVAL_MS);
        self.every("steer", period, move || {
            let sale_ms = gauges.metrics.sale_times().look_p95_ms().unwrap_or(0.0);
            let wait_ms = gauges.show_waits_ms(&store);
            gauges.sale.set(sale_ms / 1_000.0);
            if settings.is_on() {
                engine.set_strain(strain(&settings, sale_ms, wait_ms));
            }
            let (engine, gauges) = (Arc::clone(&engine), Arc::clone(&gauges));
            async move {
                let rates = gauges.metrics.room_rates();
                for (room, rate_per_s) in engine.steer_rooms().await {
                    rates.set(room.as_str(), rate_per_s);
                }
                let known = engine.rooms().all();
                rates.keep(|room| {
                    let found = known.binary_search_by(|known| known.id.as_str().cmp(room));
                    found.is_ok()
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sale: u64, wait: u64) -> SteeringConfig {
        SteeringConfig {
            sale_latency_target_ms: sale,
            pool_wait_target_ms: wait,
            rate_min_fraction: 0.1,
            settle_ms: 5_000,
        }
    }

    #[test]
    fn the_worse_of_two_measures_is_told_and_one_without_a_target_is_none() {
        for (of, told) in [
            (settings(100, 50), 3_000),
            (settings(200, 1_000), 1_500),
            (settings(0, 50), 600),
            (settings(0, 0), 0),
        ] {
            assert_eq!(strain(&of, 300.0, 30.0).permille, told, "{of:?}");
        }
    }
}
