//! Winding up a performance that is cancelled: its holds end and its money goes
//! back, in steps of the store's, each a transaction.
//!
//! Two ask for them. The command itself goes on with them at once, in a task of
//! its own, so a broker that is away delays no refund. The outbox asks again,
//! by `performance.cancelled` and then by the event that each step it asked for
//! leaves: a node that dies in between leaves the rest to whoever relays next.
//! Both may be at it together: each step takes what is left.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::SaleEngine;
use crate::bus::BusMessage;
use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::domain::ids::ResourceId;
use crate::engine::relay::hand_on;
use crate::store::sales::{CancelPerformance, CancelledPerformance, SalesError, WindUp};
use crate::truth::failpoint::Point;

/// Ended by one unit of work: others wait for it.
pub const RESERVATIONS_PER_STEP: u32 = 25;
/// Other events wait for them, and so does the lease of their partitions.
const STEPS_PER_BATCH: u32 = 8;

impl SaleEngine {
    /// # Errors
    /// As `Operators::cancel_performance`.
    pub async fn cancel_performance(
        &self,
        command: CancelPerformance,
    ) -> Result<CancelledPerformance, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let cancelled = sale.store().cancel_performance(command).await?;
            sale.0.failpoints.hit(Point::PerformanceCancelled).await?;
            sale.0.bus.publish(BusMessage::CatalogChanged);
            sale.tell(cancelled.changed.clone(), None);
            sale.wind_up_soon(cancelled.performance.id.clone());
            Ok(cancelled)
        })
        .await
    }

    /// Goes on until nothing is left, the store fails, or the node stops.
    fn wind_up_soon(&self, performance: ResourceId) {
        let sale = self.clone();
        self.0.tasks.spawn(async move {
            while !sale.0.tasks.is_closed() {
                match sale.wind_up(&performance, None).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(performance.id = %performance, error = %error, "refunds wait for the outbox");
                        break;
                    }
                }
            }
        });
    }

    /// One step; whether there is more.
    async fn wind_up(
        &self,
        performance: &ResourceId,
        event: Option<u64>,
    ) -> Result<bool, SalesError> {
        let step = WindUp {
            performance: performance.clone(),
            reservations_max: RESERVATIONS_PER_STEP,
            event,
        };
        let done = self.store().wind_up(step).await?;
        self.0.failpoints.hit(Point::RefundsCommitted).await?;
        if done.reservations > 0 {
            self.seats_changed(performance.clone());
        }
        Ok(done.more)
    }
}

/// The consumer that goes on with refunds after a crash, then hands events on.
///
/// What fails holds back its own performance: events of others go on.
pub struct WindUpConsumer {
    sale: SaleEngine,
    next: Arc<dyn EventSink>,
}

impl WindUpConsumer {
    #[must_use]
    pub fn new(sale: SaleEngine, next: Arc<dyn EventSink>) -> Self {
        Self { sale, next }
    }

    /// What an event asks for; `None` once it is done.
    async fn serve(&self, event: &OutboxEvent) -> Option<Outcome> {
        let body: Cancelled = match serde_json::from_str(&event.payload) {
            Ok(body) => body,
            Err(error) => return Some(Outcome::Refused(error.to_string())),
        };
        let step = self.sale.wind_up(&body.performance_id, Some(event.version));
        match step.await {
            Ok(_) => None,
            Err(SalesError::NotFound) => Some(Outcome::Refused("not found".to_owned())),
            Err(error) => {
                tracing::warn!(performance.id = %body.performance_id, error = %error, "refunds are asked for again");
                Some(Outcome::Waits)
            }
        }
    }
}

fn asks(event: &OutboxEvent) -> bool {
    let kind = event.kind.as_str();
    kind == "performance.cancelled" || kind == "performance.refunding"
}

/// Body of `performance.cancelled` and `performance.refunding`.
#[derive(Deserialize)]
struct Cancelled {
    performance_id: ResourceId,
}

#[async_trait]
impl EventSink for WindUpConsumer {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let mut steps = 0;
        let mut held_back: BTreeSet<&str> = BTreeSet::new();
        let mut fates = Vec::with_capacity(batch.len());
        for event in batch {
            if !asks(event) || held_back.contains(event.aggregate.as_str()) {
                fates.push(None);
                continue;
            }
            steps += 1;
            let fate = match steps > STEPS_PER_BATCH {
                true => Some(Outcome::Later),
                false => self.serve(event).await,
            };
            if matches!(fate, Some(Outcome::Later | Outcome::Waits)) {
                held_back.insert(&event.aggregate);
            }
            fates.push(fate);
        }
        let mut delivery = hand_on(self.next.as_ref(), batch, fates).await;
        if steps > STEPS_PER_BATCH {
            let waits = || "refunds are to be asked for again".to_owned();
            delivery.trouble.get_or_insert_with(waits);
        }
        delivery
    }
}
