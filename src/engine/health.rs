//! Whether the stores can be reached. Fail closed: while SQL is away rooms
//! stand still, nobody joins, is activated or lapses, and streams say DEGRADED.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::ids::RoomId;

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// A database that does not answer so long is away.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_000);

impl Engine {
    /// Asks SQL for the time. The app calls it each 500 ms, so streams say
    /// DEGRADED within 2 s. Answers whether the node is degraded now.
    pub async fn probe(&self) -> bool {
        let answer = tokio::time::timeout(PROBE_TIMEOUT, self.registry.now()).await;
        let is_degraded = !matches!(answer, Ok(Ok(_)));
        if self.degraded.swap(is_degraded, Ordering::SeqCst) != is_degraded {
            tracing::warn!(
                sql.reachable = !is_degraded,
                "database reachability changed"
            );
        }
        is_degraded
    }

    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::SeqCst)
    }

    /// Another process took the rooms over: nothing is rebuilt, ticked or
    /// served here any more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// A room, if this node can serve it now.
    pub(super) fn serving(&self, id: &RoomId) -> Result<Arc<RoomHandle>, EngineError> {
        if self.is_degraded() || self.is_retired() {
            return Err(EngineError::Degraded);
        }
        self.rooms.get(id)
    }
}
