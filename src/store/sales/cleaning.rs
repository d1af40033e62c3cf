//! The seam to the cleaner: what of the sale has had its time.
//!
//! Promises, held by `store::sales::conformance::cleaning`:
//! - Money stays: the ledger, payments that ever took any, their intents and
//!   refunds, and the reservations that they were for.
//! - A command is answered under its key for as long as it was; nothing that a
//!   kept answer names is deleted.
//! - The audit is clean before a step, after it and after the last.
//! - A step takes at most so many of a kind, in one transaction that others
//!   come between. Whoever asks again goes on where the last one was, and two
//!   at once do no harm.

use async_trait::async_trait;

use super::SalesError;

/// What there is to delete, in the order in which it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Litter {
    /// Ids of what payment providers told: whoever tells it again is believed
    /// again.
    GatewayEvents,
    /// Attempts to take money that a provider declined, with their payments,
    /// unless their reservation still names them.
    DeclinedIntents,
    /// Holds that ended without a payment, with the attempts at one.
    EndedHolds,
    /// Seats, tickets and lists of seats of performances that have begun, and
    /// whose sale has closed, for so long. What is held, or to be refunded, waits.
    FinishedSales,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Rows that are gone.
    pub rows: u64,
    pub has_more: bool,
}

#[async_trait]
pub trait Cleaning: Send + Sync + 'static {
    /// Whether a step would find something. Costs a read.
    async fn has_litter(&self, what: Litter, kept_ms: u64) -> Result<bool, SalesError>;

    /// Deletes what ended `kept_ms` ago or before, about `items_max` of it.
    async fn clean(
        &self,
        what: Litter,
        kept_ms: u64,
        items_max: u32,
    ) -> Result<Cleaned, SalesError>;
}
