//! The seam to what users are told ahead of time: that a hold ends soon, and that
//! a performance is near.
//!
//! Promises, held by `store::sales::conformance::notices`:
//! - A hold is asked for once, however often it is made longer, and a reservation
//!   is reminded once of each date of its performance: one event each, in the
//!   transaction that notes it.
//! - Nobody is asked for what is paid, over, being paid, or of a performance that
//!   is cancelled; nobody is reminded without a ticket.
//! - A step leaves at most so many events, in one transaction that others come
//!   between. Two at once do no harm.

use async_trait::async_trait;

use super::SalesError;
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;

/// The types of the events.
pub const PAY_SOON: &str = "reservation.pay_soon";
pub const REMINDER: &str = "reservation.reminder";

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed<C> {
    pub events: u64,
    /// Where the next step goes on; `None`: nothing is left.
    pub next: Option<C>,
}

/// How far reminding has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reminded {
    /// Of which the tickets up to this seat are done; `None`: on to the next.
    pub within: Option<(ResourceId, String)>,
}

/// What a notice says, to look whether it still is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// That a hold ends soon.
    PaySoon { reservation: ResourceId },
    /// That a performance is near.
    Reminder {
        reservation: ResourceId,
        starts_at: UnixMs,
    },
}

#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// Whether a step would find something. Costs a read.
    async fn has_pay_soon(&self, before_ms: u64) -> Result<bool, SalesError>;

    /// Leaves [`PAY_SOON`] for holds that end within `before_ms`, at `from` or
    /// later, the next to end first. One that lasts no longer than `before_ms`
    /// in all is not asked for.
    async fn pay_soon(
        &self,
        before_ms: u64,
        from: UnixMs,
        events_max: u32,
    ) -> Result<Noticed<UnixMs>, SalesError>;

    /// Whether a step would find something. Costs a read.
    async fn has_reminders(&self, before_ms: u64) -> Result<bool, SalesError>;

    /// Leaves [`REMINDER`] for who has tickets of performances that begin within
    /// `before_ms`, the next one first. Who buys after that is not reminded.
    async fn remind(
        &self,
        before_ms: u64,
        after: Reminded,
        events_max: u32,
    ) -> Result<Noticed<Reminded>, SalesError>;

    /// Whether who hears it now would be told the truth.
    async fn still_is(&self, notice: Notice) -> Result<bool, SalesError>;
}
