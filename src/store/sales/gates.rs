//! What gates ask: whether a ticket admits, and which do not any more.
//!
//! Promises, held with those of [`super`]:
//! - Of all who redeem a ticket, at once or later, one is told that it was the
//!   first; that is kept.
//! - A void ticket admits nobody, whether it was redeemed before or not; nor
//!   does one of a performance that is cancelled.
//! - Its owner gives back a ticket or a gate redeems it, never both.
//! - Voided tickets are listed in the order in which they were voided, and one
//!   that is voided later is never listed before one that was seen.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;

use super::{Listing, Page, SalesError};

/// A ticket as its code names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldTicket {
    pub performance: ResourceId,
    pub seat: ResourceId,
    pub serial: u64,
    pub reservation: ResourceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    /// For the first time.
    pub redeemed_at: UnixMs,
    /// By another call.
    pub before: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidedTicket {
    pub seat: ResourceId,
    /// Those of the seat up to it are void.
    pub serial: u64,
    pub voided_at: UnixMs,
    /// Somebody was admitted by it before.
    pub redeemed_at: Option<UnixMs>,
}

/// Where a list of voided tickets goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidedCursor {
    pub voided_at: UnixMs,
    pub seat: ResourceId,
    pub serial: u64,
}

#[async_trait]
pub trait Gates: Send + Sync + 'static {
    /// [`SalesError::NotFound`] for one that was never sold, or is void.
    async fn redeem_ticket(&self, ticket: SoldTicket) -> Result<Redeemed, SalesError>;

    /// Those voided at `since` or later.
    async fn voided_tickets(
        &self,
        performance: ResourceId,
        since: UnixMs,
        page: Page<VoidedCursor>,
    ) -> Result<Listing<VoidedTicket, VoidedCursor>, SalesError>;
}
