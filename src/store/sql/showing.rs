//! What is only shown, on SQL: from the standby where there is one, it answers,
//! and can prove that it is new enough ([`standby`]); else from the database.
//!
//! This is the one place from which a standby is read. [`Standby::read`] is seen
//! by this module alone: a sale, a seat map, a kept answer, a key, a room have no
//! way to it.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::inbox::{figures, listing};
use super::sales::catalog;
use super::{SqlStore, Work};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Concert, Performance};
use crate::store::inbox::{InboxError, RankCursor, RankedBy, SalesFigures};
use crate::store::sales::{ConcertCursor, Listing, Page, PerformanceCursor, SalesError};
use crate::store::showing::{AsOf, Showing};

mod beats;
mod standby;
#[cfg(test)]
mod tests;

pub(super) use standby::Standby;
pub use standby::StandbyFigures;

impl SqlStore {
    async fn show<I, T, W>(&self, input: I, work: W) -> Result<AsOf<T>, SalesError>
    where
        I: Clone + Send + Sync + 'static,
        T: Send + 'static,
        W: Work<I, T, SalesError> + Copy,
    {
        if let Some(standby) = &self.standby
            && let Some(shown) = standby.read(input.clone(), work).await
        {
            return Ok(shown);
        }
        self.read(input, move |tx, input| {
            async move { Ok::<_, SalesError>(AsOf::now(work.run(tx, input).await?, tx.now())) }
                .boxed()
        })
        .await
    }

    /// How the standby does; `None` without one.
    #[must_use]
    pub fn standby_figures(&self) -> Option<StandbyFigures> {
        self.standby.as_ref().map(|standby| standby.figures())
    }
}

fn unavailable(error: InboxError) -> SalesError {
    SalesError::Unavailable(error.to_string())
}

#[async_trait]
impl Showing for SqlStore {
    async fn concerts(
        &self,
        page: Page<ConcertCursor>,
    ) -> Result<AsOf<Listing<Concert, ConcertCursor>>, SalesError> {
        self.show(page, |tx, page| catalog::concerts(tx, page).boxed())
            .await
    }

    async fn ranked_concerts(
        &self,
        by: RankedBy,
        page: Page<RankCursor>,
    ) -> Result<AsOf<Listing<Concert, RankCursor>>, SalesError> {
        self.show((by, page), |tx, (by, page)| {
            async move { listing::ranked(tx, *by, page).await.map_err(unavailable) }.boxed()
        })
        .await
    }

    async fn concert(&self, id: ResourceId) -> Result<AsOf<Concert>, SalesError> {
        self.show(id, |tx, id| catalog::concert(tx, id).boxed())
            .await
    }

    async fn performances(
        &self,
        concert: ResourceId,
        page: Page<PerformanceCursor>,
    ) -> Result<AsOf<Listing<Performance, PerformanceCursor>>, SalesError> {
        self.show((concert, page), |tx, (concert, page)| {
            catalog::performances(tx, concert, page).boxed()
        })
        .await
    }

    async fn sales_figures(
        &self,
        performance: Option<ResourceId>,
    ) -> Result<AsOf<SalesFigures>, SalesError> {
        self.show(performance, |tx, performance| {
            async move {
                let figures = figures::read(tx, performance.as_ref()).await;
                figures.map_err(unavailable)?.ok_or(SalesError::NotFound)
            }
            .boxed()
        })
        .await
    }

    fn changed(&self) {
        if let Some(standby) = &self.standby {
            standby.changed();
        }
    }
}
