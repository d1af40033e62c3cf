//! The seam to what is only shown: pages of the catalog, rankings, sales figures.
//!
//! What is read here may be a bounded time old, and says how old it is; so it
//! may come from a copy of the database that lags behind. Whoever decides
//! something reads elsewhere: [`super::sales`] and the seams beside it know no
//! copies, and nothing of them can be asked for here.
//!
//! Promises of every implementation:
//! - What is answered was the truth, all of it, at one moment, which was
//!   [`AsOf::as_of`] by the database's clock, or later.
//! - When it is read, that moment is no further back than the implementation's
//!   bound, which has a name in its settings.
//! - After [`Showing::changed`] returned, what is asked for has every change that
//!   was committed before.
//! - What is [`SalesError::NotFound`] is not in the database itself.

use std::ops::Deref;

use async_trait::async_trait;

use super::inbox::{RankCursor, RankedBy, SalesFigures};
use super::sales::{ConcertCursor, Listing, Page, PerformanceCursor, SalesError};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Concert, Performance};
use crate::domain::time::UnixMs;

/// Something as it was at a moment; used as if it were the thing itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOf<T> {
    pub value: T,
    /// By the database's clock.
    pub as_of: UnixMs,
    /// How long ago that was at most when it was read, by no clock but this
    /// node's own steps; 0 from the database itself.
    pub behind_ms: u64,
}

impl<T> AsOf<T> {
    /// Read from the database itself.
    pub fn now(value: T, as_of: UnixMs) -> Self {
        Self {
            value,
            as_of,
            behind_ms: 0,
        }
    }
}

impl<T> Deref for AsOf<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[async_trait]
pub trait Showing: Send + Sync + 'static {
    async fn concerts(
        &self,
        page: Page<ConcertCursor>,
    ) -> Result<AsOf<Listing<Concert, ConcertCursor>>, SalesError>;

    async fn ranked_concerts(
        &self,
        by: RankedBy,
        page: Page<RankCursor>,
    ) -> Result<AsOf<Listing<Concert, RankCursor>>, SalesError>;

    async fn concert(&self, id: ResourceId) -> Result<AsOf<Concert>, SalesError>;

    async fn performances(
        &self,
        concert: ResourceId,
        page: Page<PerformanceCursor>,
    ) -> Result<AsOf<Listing<Performance, PerformanceCursor>>, SalesError>;

    /// Of one performance, or of all.
    async fn sales_figures(
        &self,
        performance: Option<ResourceId>,
    ) -> Result<AsOf<SalesFigures>, SalesError>;

    /// Something was changed, and must be seen from now on.
    fn changed(&self);
}
