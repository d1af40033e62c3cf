//! `WatchSales`: what consumers have counted, once a second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::domain::ids::ResourceId;
use crate::proto::v1 as wire;
use crate::store::inbox::SalesFigures;
use crate::store::sales::SalesError;
use crate::store::showing::AsOf;

use super::super::decode;
use super::super::edge::{Edge, Messages};
use super::super::encode;
use super::super::status::Refusal;
use super::Admin;

const INTERVAL: Duration = Duration::from_secs(1);

struct Sales {
    edge: Arc<Edge>,
    performance: Option<ResourceId>,
    /// Read when the stream was asked for.
    first: Option<AsOf<SalesFigures>>,
    next_at: Instant,
    is_over: bool,
}

impl Admin {
    pub(super) async fn watch_figures(
        &self,
        message: &wire::WatchSalesRequest,
    ) -> Result<Messages<wire::WatchSalesResponse>, Refusal> {
        let performance = match &message.performance_id {
            Some(id) => Some(decode::resource_id("performance_id", id)?),
            None => None,
        };
        let first = read(&self.edge, performance.as_ref()).await?;
        let sales = Sales {
            edge: Arc::clone(&self.edge),
            performance,
            first: Some(first),
            next_at: Instant::now(),
            is_over: false,
        };
        let messages = stream::unfold(sales, |mut sales| async move {
            if sales.is_over {
                return None;
            }
            let edge = Arc::clone(&sales.edge);
            let message = edge.unless_draining(sales.next()).await;
            let message = message.and_then(|message| message);
            sales.is_over = message.is_err();
            Some((message, sales))
        });
        self.edge.until_stalled(messages)
    }
}

impl Sales {
    async fn next(&mut self) -> Result<wire::WatchSalesResponse, Status> {
        sleep_until(self.next_at).await;
        self.next_at = Instant::now() + INTERVAL;
        let figures = match self.first.take() {
            Some(first) => Ok(first),
            None => read(&self.edge, self.performance.as_ref()).await,
        };
        let figures = figures
            .map_err(|refusal| Refusal::from(refusal).into_status(self.edge.entropy.fraction()))?;
        Ok(wire::WatchSalesResponse {
            as_of: Some(encode::timestamp(figures.as_of)),
            sold: figures.sold,
            held: figures.held,
            revenue: figures
                .value
                .revenue
                .into_iter()
                .map(encode::money)
                .collect(),
        })
    }
}

async fn read(
    edge: &Edge,
    performance: Option<&ResourceId>,
) -> Result<AsOf<SalesFigures>, SalesError> {
    edge.showing.sales_figures(performance.cloned()).await
}
