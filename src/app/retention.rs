//! Rooms that are over are forgotten now and then, and of the sale what has had
//! its time.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, RetentionConfig};
use crate::engine::cleaner::{CLEAN_INTERVAL_MS, Cleaner, KeptTimes};
use crate::engine::retention::RETENTION_INTERVAL_MS;

use super::node::Node;

impl Node {
    pub(super) fn start_retention(&self, config: &Config) {
        self.start_forgetting(config.queue.retain_closed_ms);
        self.start_cleaning(&config.retention);
    }

    fn start_cleaning(&self, retention: &RetentionConfig) {
        let cleaner = Arc::new(Cleaner {
            sales: Arc::clone(&self.store) as _,
            leases: Arc::clone(&self.store) as _,
            holder: self.relay_id(),
            kept: KeptTimes {
                gateway_events_ms: retention.gateway_events_ms,
                declined_intents_ms: retention.declined_intents_ms,
                ended_holds_ms: retention.ended_holds_ms,
                finished_sales_ms: retention.finished_sales_ms,
            },
        });
        let period = Duration::from_millis(CLEAN_INTERVAL_MS);
        self.every("clean", period, move || {
            let cleaner = Arc::clone(&cleaner);
            async move {
                if let Err(error) = cleaner.pass().await {
                    tracing::warn!(error = %error, "cleaner stopped, and goes on later");
                }
            }
        });
    }

    /// `retain_ms` 0: they are kept for ever.
    fn start_forgetting(&self, retain_ms: u64) {
        if retain_ms == 0 {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let period = Duration::from_millis(RETENTION_INTERVAL_MS);
        self.every("retention", period, move || {
            let engine = Arc::clone(&engine);
            async move {
                if let Err(error) = engine.forget_finished(retain_ms).await {
                    tracing::warn!(error = %error, "closed rooms not looked at");
                }
            }
        });
    }
}
