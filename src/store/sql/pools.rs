//! The pools of a store by name, and how long units wait for their turn in each.
//!
//! On a server each has connections of its own, so that neither takes another's:
//! a burst of buyers does not stop the relay, and a backlog of events costs no
//! buyer a connection. On SQLite there is one writer for all that writes.

use std::sync::Arc;

use crate::metrics::RecentTimes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Batches of holds and payments.
    Checkout,
    /// Other units that someone waits for.
    Writes,
    Reads,
    /// Units that nobody waits for: the sweep, the relay, what is forgotten.
    Background,
    /// What is only shown, from a copy: no other unit ever gets there.
    Standby,
}

impl Pool {
    pub const ALL: [Self; 5] = [
        Self::Checkout,
        Self::Writes,
        Self::Reads,
        Self::Background,
        Self::Standby,
    ];

    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Writes => "writes",
            Self::Reads => "reads",
            Self::Background => "background",
            Self::Standby => "standby",
        }
    }
}

/// Of each pool apart.
#[derive(Default)]
pub(super) struct Waits {
    checkout: Arc<RecentTimes>,
    writes: Arc<RecentTimes>,
    reads: Arc<RecentTimes>,
    background: Arc<RecentTimes>,
    standby: Arc<RecentTimes>,
}

impl Waits {
    pub fn of(&self, pool: Pool) -> &Arc<RecentTimes> {
        match pool {
            Pool::Checkout => &self.checkout,
            Pool::Writes => &self.writes,
            Pool::Reads => &self.reads,
            Pool::Background => &self.background,
            Pool::Standby => &self.standby,
        }
    }
}
