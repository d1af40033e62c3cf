//! What operators change of the catalog once it is there.
//!
//! Promises, held with those of [`super`]:
//! - A change is made from the version that its etag names, or not at all.
//! - From the commit of a cancellation on nobody holds or pays seats of the
//!   performance. What was held or paid before ends in steps, each of which
//!   leaves every reservation as it was or over, with its money given back.
//! - A price is that of seats which nobody holds or has: a hold is paid at the
//!   price it was made at, and a seat that comes back costs what its section
//!   costs then.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Concert, Performance, Seat};
use crate::domain::sale::change::{ConcertChange, PerformanceChange};

use super::{Once, SalesError, SeatsChanged};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateConcert {
    pub concert: ResourceId,
    /// It was read at this version.
    pub version: u64,
    pub change: ConcertChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatePerformance {
    pub performance: ResourceId,
    /// It was read at this version.
    pub version: u64,
    pub change: PerformanceChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatedPerformance {
    pub performance: Performance,
    pub changed: SeatsChanged,
}

#[derive(Debug, Clone)]
pub struct CancelPerformance {
    pub once: Once,
    pub performance: ResourceId,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledPerformance {
    pub performance: Performance,
    /// Paid reservations whose money is still to be given back.
    pub refunds_pending: u64,
    pub changed: SeatsChanged,
}

#[derive(Debug, Clone)]
pub struct BlockSeats {
    pub performance: ResourceId,
    pub seats: Vec<ResourceId>,
    pub blocked: bool,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub seats: Vec<Seat>,
    pub changed: SeatsChanged,
}

/// One step of winding up a performance that is cancelled.
#[derive(Debug, Clone)]
pub struct WindUp {
    pub performance: ResourceId,
    pub reservations_max: u32,
    /// The version of the event that asks for it, if one does: the step leaves
    /// another in the outbox while there is more, once however often it is
    /// asked for.
    pub event: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WoundUp {
    /// Reservations that the step ended.
    pub reservations: u64,
    pub more: bool,
}

#[async_trait]
pub trait Operators: Send + Sync + 'static {
    /// [`SalesError::Conflict`] for another version than the present one.
    async fn update_concert(&self, command: UpdateConcert) -> Result<Concert, SalesError>;

    /// As [`Operators::update_concert`]; [`SalesError::SaleNotOpen`] for one
    /// that is cancelled.
    async fn update_performance(
        &self,
        command: UpdatePerformance,
    ) -> Result<UpdatedPerformance, SalesError>;

    /// Ends the sale; what was held or paid ends by [`Operators::wind_up`]. One
    /// that is cancelled is answered as it is.
    async fn cancel_performance(
        &self,
        command: CancelPerformance,
    ) -> Result<CancelledPerformance, SalesError>;

    /// Releases holds, and gives paid reservations back with their money. Of a
    /// performance that is not cancelled it does nothing.
    async fn wind_up(&self, step: WindUp) -> Result<WoundUp, SalesError>;
}
