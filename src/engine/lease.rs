//! One embedded process owns the rooms of a database at a time.
//!
//! The memory queue is not shared, so two processes on one database would each
//! hand out the same turns. A lease in SQL keeps the second one out: it waits
//! for one lease time, in case the first one crashed, and gives up then.

use std::sync::Arc;
use std::time::Duration;

use crate::store::rooms::{RoomRegistry, RoomsError};

/// An embedded server's claim on all rooms.
const LEASE_NAME: &str = "embedded-queue";
/// A lease that is not renewed for so long is over.
pub const LEASE_TTL_MS: u64 = 2_000;
/// How often it is renewed.
pub const LEASE_RENEW_MS: u64 = 500;

pub struct Lease {
    registry: Arc<dyn RoomRegistry>,
    holder: u64,
}

impl Lease {
    /// Takes the lease, waiting for a dead holder's to run out.
    ///
    /// # Errors
    /// [`RoomsError::LeaseHeld`] when another process keeps renewing it.
    pub async fn acquire(registry: Arc<dyn RoomRegistry>, holder: u64) -> Result<Self, RoomsError> {
        let tries = LEASE_TTL_MS / LEASE_RENEW_MS + 2;
        for _try in 1..tries {
            match registry.lease(LEASE_NAME, holder, LEASE_TTL_MS).await {
                Err(RoomsError::LeaseHeld) => {
                    tokio::time::sleep(Duration::from_millis(LEASE_RENEW_MS)).await;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(Self { registry, holder }),
            }
        }
        registry.lease(LEASE_NAME, holder, LEASE_TTL_MS).await?;
        Ok(Self { registry, holder })
    }

    /// # Errors
    /// [`RoomsError::LeaseHeld`]: another process took over; stop serving.
    pub async fn renew(&self) -> Result<(), RoomsError> {
        self.registry
            .lease(LEASE_NAME, self.holder, LEASE_TTL_MS)
            .await
    }

    /// # Errors
    /// [`RoomsError::Unavailable`]; the next start then waits it out.
    pub async fn release(&self) -> Result<(), RoomsError> {
        self.registry.release_lease(LEASE_NAME, self.holder).await
    }
}
