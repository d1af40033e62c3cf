//! Rooms that are over are forgotten now and then.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::retention::RETENTION_INTERVAL_MS;

use super::node::Node;

impl Node {
    /// `retain_ms` 0: they are kept for ever.
    pub(super) fn start_retention(&self, retain_ms: u64) {
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
