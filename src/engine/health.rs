//! Whether SQL takes what this node writes. Fail closed: while it does not,
//! rooms stand still, nobody joins, is activated or lapses, streams say
//! DEGRADED, and whoever has a place can still look at it.
//!
//! The question is the renewal of the lease: a small write, so that a full disk
//! and a writer that hangs are noticed, which a read would not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::ids::RoomId;
use crate::store::rooms::RoomsError;

use super::error::EngineError;
use super::lease::Lease;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// A database that does not write so long is away. With the time between two
/// renewals and a tick that is less than the 2 s in which streams say so.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_300);

impl Engine {
    /// Renews the lease; the app calls it each [`super::lease::LEASE_RENEW_MS`].
    /// Retires when another process has it. Answers whether the node is degraded
    /// now.
    pub async fn probe(&self, lease: &Lease) -> bool {
        let renewed = tokio::time::timeout(PROBE_TIMEOUT, lease.renew()).await;
        if let Ok(Err(RoomsError::LeaseHeld)) = renewed {
            tracing::error!("another process took over this database");
            self.retire();
        }
        let is_degraded = !matches!(renewed, Ok(Ok(())));
        if self.degraded.swap(is_degraded, Ordering::SeqCst) != is_degraded {
            tracing::warn!(sql.writable = !is_degraded, "database availability changed");
        }
        is_degraded
    }

    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::SeqCst)
    }

    /// Another process took the rooms over: nothing is rebuilt, ticked or
    /// served here any more.
    fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// A room, if this node can change it now.
    pub(super) fn serving(&self, id: &RoomId) -> Result<Arc<RoomHandle>, EngineError> {
        if self.is_degraded() {
            return Err(EngineError::Degraded);
        }
        self.showing(id)
    }

    /// A room, if what this node knows of it is true.
    pub(super) fn showing(&self, id: &RoomId) -> Result<Arc<RoomHandle>, EngineError> {
        if self.is_retired() {
            return Err(EngineError::Degraded);
        }
        self.rooms.get(id)
    }
}
