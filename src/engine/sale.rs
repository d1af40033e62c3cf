//! Use cases of the sale: holds, payments, wallets, the catalog.
//!
//! The store decides; this layer gives each command its ids, runs it to its end
//! whatever becomes of the caller, and then tells others: the bus that seats
//! changed, the room that a slot is free ([`SlotReleaser`]) or that it may be
//! sold out ([`SoldOutRooms`]). A crash between commit and telling loses
//! nothing: the outbox frees the slot and goes on with refunds, seat maps are
//! read again, and rooms are asked again at the start.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::ticker::{Engine, SlotReleaser};
use crate::bus::{BusMessage, EventBus};
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::place::EndReason;
use crate::domain::sale::command::FieldError;
use crate::domain::sale::currency::Currency;
use crate::entropy::Entropy;
use crate::metrics::Metrics;
use crate::store::sales::{Catalog, CompletedPass, SalesError, SalesStore, SeatsChanged};
use crate::truth::failpoint::{Failpoints, Injected};

mod charges;
mod commands;
mod coupons;
mod exhausted;
mod sweeper;
#[cfg(test)]
mod tests;
mod wind_up;

pub use charges::{Gateway, Heard, RESOLVE_INTERVAL_MS, TopUp, UNSETTLED_INTERVAL_MS};
pub use sweeper::SWEEP_INTERVAL_MS;
pub use wind_up::{RESERVATIONS_PER_STEP, WindUpConsumer};

use exhausted::Exhausted;
use wind_up::StepSize;

/// What a sale is made with.
#[derive(Debug, Clone)]
pub struct SaleSettings {
    /// Of a wallet that is asked for without one.
    pub default_currency: Currency,
    /// What wallets take; the default among them.
    pub currencies: Vec<Currency>,
    pub top_up_minor_max: i64,
    /// What a wallet holds at most after a top-up.
    pub balance_minor_max: i64,
}

/// Rooms that follow whether what they protect is sold.
#[async_trait]
pub trait SoldOutRooms: Send + Sync + 'static {
    /// Reads SQL, and tells the line if it changed; repeats what failed.
    async fn recheck(&self, room: &RoomId);
}

#[async_trait]
impl SoldOutRooms for Engine {
    async fn recheck(&self, room: &RoomId) {
        self.check_sold_out(room).await;
    }
}

/// What a [`SaleEngine`] is made of.
pub struct SaleParts {
    pub store: Arc<dyn SalesStore>,
    pub slots: Arc<dyn SlotReleaser>,
    pub rooms: Arc<dyn SoldOutRooms>,
    pub bus: Arc<dyn EventBus>,
    pub entropy: Arc<dyn Entropy>,
    pub failpoints: Arc<Failpoints>,
    pub tasks: TaskTracker,
    pub metrics: Metrics,
    /// `None`: payments come from wallets alone.
    pub gateway: Option<Gateway>,
    pub settings: SaleSettings,
}

/// The sale's use cases on one node. A clone is the same sale.
#[derive(Clone)]
pub struct SaleEngine(Arc<Inner>);

struct Inner {
    parts: SaleParts,
    /// Intents and refunds of other providers, as last told.
    elsewhere: AtomicU64,
    steps: StepSize,
    exhausted: Exhausted,
    /// Requests for coupons.
    issues: coupons::Outcomes,
}

impl Deref for Inner {
    type Target = SaleParts;

    fn deref(&self) -> &SaleParts {
        &self.parts
    }
}

impl SaleEngine {
    #[must_use]
    pub fn new(parts: SaleParts) -> Self {
        Self(Arc::new(Inner {
            issues: coupons::Outcomes::new(&parts),
            exhausted: Exhausted::default(),
            parts,
            elsewhere: AtomicU64::default(),
            steps: StepSize::default(),
        }))
    }

    /// For reads: they need nothing of this layer.
    #[must_use]
    pub fn store(&self) -> &dyn SalesStore {
        self.0.store.as_ref()
    }

    #[must_use]
    pub fn settings(&self) -> &SaleSettings {
        &self.0.settings
    }

    /// A wallet's currency, as a client names it.
    ///
    /// # Errors
    /// [`SalesError::Field`] for one that is not served.
    pub fn wallet_currency(&self, code: Option<&str>) -> Result<Currency, SalesError> {
        let Some(code) = code else {
            return Ok(self.0.settings.default_currency);
        };
        Currency::parse(code)
            .ok()
            .filter(|currency| self.0.settings.currencies.contains(currency))
            .ok_or_else(|| FieldError::new("currency_code", "must be a currency served").into())
    }

    fn fresh_id(&self) -> Result<ResourceId, SalesError> {
        // A UUID is always an id.
        ResourceId::parse(&self.0.entropy.uuid().to_string())
            .map_err(|error| SalesError::Unavailable(error.to_string()))
    }

    /// Runs a command to its end, even if the caller goes away.
    async fn to_the_end<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<T, SalesError>> + Send + 'static,
    ) -> Result<T, SalesError> {
        match self.0.tasks.spawn(command).await {
            Ok(result) => result,
            Err(error) => Err(SalesError::Unavailable(error.to_string())),
        }
    }

    /// Tells others, without the caller waiting for it.
    fn tell(&self, changed: SeatsChanged, completed: Option<CompletedPass>) {
        let sale = self.clone();
        self.0.tasks.spawn(async move {
            sale.seats_changed(changed.performance.clone());
            if changed.turned {
                sale.sold_out_turned(changed.performance).await;
            }
            sale.tell_each_room(changed.recheck_sold_out, completed)
                .await;
        });
    }

    /// As [`SaleEngine::tell`], where no seats changed.
    fn tell_rooms(&self, recheck_sold_out: Option<RoomId>, completed: Option<CompletedPass>) {
        if recheck_sold_out.is_none() && completed.is_none() {
            return;
        }
        let sale = self.clone();
        self.0.tasks.spawn(async move {
            sale.tell_each_room(recheck_sold_out, completed).await;
        });
    }

    async fn tell_each_room(
        &self,
        recheck_sold_out: Option<RoomId>,
        completed: Option<CompletedPass>,
    ) {
        // First, so that the freed slot is not given to someone who finds
        // nothing left.
        if let Some(room) = recheck_sold_out {
            self.0.rooms.recheck(&room).await;
        }
        if let Some(pass) = completed {
            let reason = EndReason::Completed;
            let slots = &self.0.slots;
            let freed = slots.release(&pass.room, pass.activation, reason).await;
            if let Err(error) = freed {
                tracing::warn!(room.id = %pass.room, error = %error, "slot not freed yet");
            }
        }
    }

    async fn sold_out_turned(&self, performance: ResourceId) {
        let found = Catalog::performance(self.store(), performance).await;
        self.0.bus.publish(match found {
            Ok(found) => BusMessage::SoldOutTurned {
                concert: found.terms.concert,
                mark: self.0.entropy.uuid().as_u64_pair().1,
            },
            // It may be on any page.
            Err(_) => BusMessage::CatalogChanged,
        });
    }

    fn seats_changed(&self, performance: ResourceId) {
        self.0.bus.publish(BusMessage::Seats { performance });
    }
}

/// A fault made on purpose looks like a store that is gone.
impl From<Injected> for SalesError {
    fn from(_: Injected) -> Self {
        Self::Unavailable("injected".to_owned())
    }
}
