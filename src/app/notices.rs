//! Users are told ahead of time what they may miss.

use std::sync::Arc;
use std::time::Duration;

use crate::config::NotifierConfig;
use crate::engine::notices::{NOTICE_INTERVAL_MS, Noticer};

use super::node::Node;

impl Node {
    pub(super) fn start_notices(&self, config: &NotifierConfig) {
        let (pay_before_ms, remind_before_ms) = (config.pay_before_ms, config.remind_before_ms);
        if pay_before_ms == 0 && remind_before_ms == 0 {
            return;
        }
        let noticer = Arc::new(Noticer {
            sales: Arc::clone(&self.store) as _,
            leases: Arc::clone(&self.store) as _,
            holder: self.relay_id(),
            pay_before_ms,
            remind_before_ms,
        });
        let period = Duration::from_millis(NOTICE_INTERVAL_MS);
        self.every("notices", period, move || {
            let noticer = Arc::clone(&noticer);
            async move {
                if let Err(error) = noticer.pass().await {
                    tracing::warn!(error = %error, "notices stopped, and go on later");
                }
            }
        });
    }
}
