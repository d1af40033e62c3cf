//! One embedded process owns the rooms of a database at a time.
//!
//! The memory queue is not shared, so two processes on one database would each
//! hand out the same turns. A lease in SQL keeps the second one out: it waits
//! for one lease time, in case the first one crashed, and gives up then.

use std::sync::Arc;
use std::time::Duration;

use crate::store::rooms::{RoomRegistry, RoomsError};

/// Nodes that share a queue hold the lease together, so that none of them and
/// an embedded server serve the same rooms. Renewing it is how each finds out
/// whether SQL writes.
pub const SHARED_HOLDER: u64 = 1;
/// The claim on all rooms.
const LEASE_NAME: &str = "embedded-queue";
/// How often it is renewed: often enough to notice soon that SQL does not write.
pub const LEASE_RENEW_MS: u64 = 500;

pub struct Lease {
    registry: Arc<dyn RoomRegistry>,
    holder: u64,
    /// One that is not renewed for so long is over.
    ttl_ms: u64,
}

impl Lease {
    /// Takes the lease, waiting for a dead holder's to run out.
    ///
    /// # Errors
    /// [`RoomsError::LeaseHeld`] when another process keeps renewing it.
    pub async fn acquire(
        registry: Arc<dyn RoomRegistry>,
        holder: u64,
        ttl_ms: u64,
    ) -> Result<Self, RoomsError> {
        let lease = Self {
            registry,
            holder,
            ttl_ms,
        };
        for _try in 0..=ttl_ms.div_ceil(LEASE_RENEW_MS) {
            match lease.renew().await {
                Err(RoomsError::LeaseHeld) => {
                    tokio::time::sleep(Duration::from_millis(LEASE_RENEW_MS)).await;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(lease),
            }
        }
        lease.renew().await?;
        Ok(lease)
    }

    /// # Errors
    /// [`RoomsError::LeaseHeld`]: another process took over; stop serving.
    pub async fn renew(&self) -> Result<(), RoomsError> {
        self.registry
            .lease(LEASE_NAME, self.holder, self.ttl_ms)
            .await
    }

    /// Renews it for as long as it is polled; ends when another process took
    /// over. What else fails is tried again: the work beside it fails as well.
    pub async fn renew_until_lost(&self) {
        while self.renew().await != Err(RoomsError::LeaseHeld) {
            tokio::time::sleep(Duration::from_millis(LEASE_RENEW_MS)).await;
        }
    }

    /// # Errors
    /// [`RoomsError::Unavailable`]; the next start then waits it out.
    pub async fn release(&self) -> Result<(), RoomsError> {
        self.registry.release_lease(LEASE_NAME, self.holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::UnixMs;
    use crate::store::sql::SqlStore;

    #[tokio::test]
    async fn a_lease_lives_as_long_as_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, clock.clone()).await.unwrap();
        store.migrate_up().await.unwrap();
        let registry: Arc<dyn RoomRegistry> = Arc::new(store);
        let lease = Lease::acquire(registry.clone(), 1, 7_000).await.unwrap();
        clock.advance_ms(6_999);
        let other = || registry.lease(LEASE_NAME, 2, 1);
        assert_eq!(other().await, Err(RoomsError::LeaseHeld));
        lease.renew().await.unwrap();
        clock.advance_ms(6_999);
        assert_eq!(other().await, Err(RoomsError::LeaseHeld));
        clock.advance_ms(1);
        assert_eq!(other().await, Ok(()));
        assert_eq!(lease.renew().await, Err(RoomsError::LeaseHeld));
    }

    #[tokio::test]
    async fn renewing_ends_when_another_took_over() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, clock.clone()).await.unwrap();
        store.migrate_up().await.unwrap();
        let registry: Arc<dyn RoomRegistry> = Arc::new(store);
        let lease = Lease::acquire(registry.clone(), 1, 7_000).await.unwrap();
        clock.advance_ms(7_000);
        assert_eq!(registry.lease(LEASE_NAME, 2, 7_000).await, Ok(()));
        lease.renew_until_lost().await;
    }
}
