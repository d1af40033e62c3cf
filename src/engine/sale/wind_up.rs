//! Winding up a performance that is cancelled: its holds end and its money goes
//! back, in steps of the store's, each a transaction.
//!
//! Two ask for them. The command itself goes on with them at once, in a task of
//! its own, so a broker that is away delays no refund. The outbox asks again,
//! by `performance.cancelled` and then by the event that each step it asked for
//! leaves: a node that dies in between leaves the rest to whoever relays next.
//! Both may be at it together: each step takes what is left.
//!
//! A step that does not fit into the time of a unit is undone, and asked for
//! again: so steps get smaller when one fails, and larger again by and by.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde::Deserialize;

use super::SaleEngine;
use crate::bus::BusMessage;
use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::domain::ids::ResourceId;
use crate::engine::relay::hand_on;
use crate::store::sales::{CancelPerformance, CancelledPerformance, SalesError, WindUp};
use crate::truth::failpoint::Point;

/// Ended by one unit of work, at most: others wait for it.
pub const RESERVATIONS_PER_STEP: u32 = 25;
/// Other events wait for them, and so does the lease of their partitions.
const STEPS_PER_BATCH: u32 = 8;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There is more to do.
    More,
    Last,
    /// It did not fit, and was undone; the next is smaller.
    TooLarge,
}

/// How many reservations one step ends: what the database is fast enough for.
pub(super) struct StepSize(AtomicU32);

impl Default for StepSize {
    fn default() -> Self {
        Self(AtomicU32::new(RESERVATIONS_PER_STEP))
    }
}

impl StepSize {
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// After one of `size` failed; whether a smaller one may do.
    fn fails(&self, size: u32) -> bool {
        self.0.store((size / 2).max(1), Ordering::Relaxed);
        size > 1
    }

    /// After one of `size` was done.
    fn fits(&self, size: u32) {
        let larger = (size + size.div_ceil(4)).min(RESERVATIONS_PER_STEP);
        // Another may have failed meanwhile.
        let relaxed = Ordering::Relaxed;
        let _ = self.0.compare_exchange(size, larger, relaxed, relaxed);
    }
}

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
                    Ok(Step::More | Step::TooLarge) => {}
                    Ok(Step::Last) => break,
                    Err(error) => {
                        tracing::warn!(performance.id = %performance, error = %error, "refunds wait for the outbox");
                        break;
                    }
                }
            }
        });
    }

    /// One step.
    async fn wind_up(
        &self,
        performance: &ResourceId,
        event: Option<u64>,
    ) -> Result<Step, SalesError> {
        let size = self.0.steps.get();
        let step = WindUp {
            performance: performance.clone(),
            reservations_max: size,
            event,
        };
        let done = match self.store().wind_up(step).await {
            Err(error) if is_slow(&error) && self.0.steps.fails(size) => {
                tracing::info!(performance.id = %performance, error = %error, "refunds go on in smaller steps");
                return Ok(Step::TooLarge);
            }
            done => done?,
        };
        self.0.steps.fits(size);
        self.0.failpoints.hit(Point::RefundsCommitted).await?;
        if done.reservations > 0 {
            self.seats_changed(performance.clone());
        }
        Ok(match done.more {
            true => Step::More,
            false => Step::Last,
        })
    }
}

/// As of a unit that ran out of time, or of tries.
fn is_slow(error: &SalesError) -> bool {
    matches!(error, SalesError::Unavailable(_) | SalesError::Overloaded)
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
            Ok(Step::More | Step::Last) => None,
            Ok(Step::TooLarge) => Some(Outcome::Later),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_get_as_small_as_it_takes_and_large_again() {
        let steps = StepSize::default();
        let mut sizes = vec![steps.get()];
        while steps.fails(steps.get()) {
            sizes.push(steps.get());
        }
        assert_eq!(sizes, [25, 12, 6, 3, 1]);
        for _ in 0..20 {
            steps.fits(steps.get());
        }
        assert_eq!(steps.get(), RESERVATIONS_PER_STEP);
        // One that fits says nothing about another that did not.
        steps.fails(25);
        steps.fits(25);
        assert_eq!(steps.get(), 12);
    }
}
