//! The sale on SQL: see [`crate::store::sales`] for what it promises.
//!
//! Mechanism: every command is one unit of work; holds and payments that wait
//! are one together ([`lanes`]). It looks up its key, decides with
//! [`crate::domain::sale`] on the rows it read, and writes under conditions
//! whose row counts are checked, so that it never overwrites what it did not
//! see.
//!
//! - [`hold`]: takes all seats of a request or none, from the [`stock`] of its
//!   batch; [`choose`] picks the best available inside it; [`pass`] checks the
//!   activation's row in it.
//! - [`seats`]: the only place that changes a seat's state; it moves the
//!   section's counters and raises the performance's version with it.
//! - [`ledger`]: the only place that moves money.
//! - [`pay`], [`cancel`], [`refund`]: money, seats, tickets and events at once;
//!   [`redeem`]: the coupons of payments.
//! - [`campaigns`], [`coupons`]: issues what a campaign's stock has, in order.
//! - [`intents`]: what payment providers take and give back.
//! - [`cleaning`]: deletes what has had its time.
//! - [`expiry`]: ends holds past their time. Nothing else relies on it.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::DbErr;

use super::idempotency::Slot;
use super::{SqlError, SqlStore};
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::sale::catalog::{Concert, NewConcert, NewPerformance, Performance, SeatMap};
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::Payment;
use crate::store::rooms::RoomsError;
use crate::store::sales::{
    Admission, Answers, Asked, Audit, AuditReport, BlockSeats, Blocked, CancelReservation,
    Cancelled, Catalog, ConcertCursor, Deposit, EntryCursor, FirstCatalog, Held, HoldSeats,
    Listing, Once, Page, Paid, PayReservation, PerformanceCursor, RefundPayment, Refunded,
    ReservationCursor, Sales, SalesError, Swept, Wallets,
};

mod audit;
mod block;
mod campaigns;
mod cancel;
pub(super) mod catalog;
mod change;
mod choose;
mod cleaning;
mod coupons;
mod expiry;
mod gates;
mod hold;
mod house;
mod intents;
mod lanes;
mod ledger;
mod notices;
mod operators;
mod pass;
mod pay;
mod redeem;
mod refund;
mod reservations;
mod seats;
mod stock;
mod terms;
mod wallet;
mod wind_up;

pub(super) use lanes::Lanes;

/// What is asked often, for who looks at the plans.
#[cfg(test)]
pub(super) mod asked {
    pub use super::campaigns::shown as campaign;
    pub use super::cancel::cancel;
    pub use super::cleaning::{events, holds, intents, sales};
    pub use super::coupons::{Issues, holders, list as coupons};
    pub use super::expiry::sweep;
    pub use super::gates::{redeem, voided};
    pub use super::hold::Holds;
    pub use super::intents::{due as due_intents, due_refunds};
    pub use super::lanes::Kind;
    pub use super::notices::{pay_soon, remind};
    pub use super::pay::Payments;
    pub use super::reservations::list as reservations;
    pub use super::seats::map;
    pub use super::wallet::balance;
    pub use super::wind_up::{cancel as cancel_performance, step as wind_up};
}

#[cfg(test)]
pub(super) mod tests;

impl From<SqlError> for SalesError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Overloaded | SqlError::Contended => Self::Overloaded,
            SqlError::Unsupported(_)
            | SqlError::Stopped
            | SqlError::Panicked
            | SqlError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<DbErr> for SalesError {
    fn from(error: DbErr) -> Self {
        SqlError::from(error).into()
    }
}

impl From<RoomsError> for SalesError {
    fn from(error: RoomsError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[async_trait]
impl Catalog for SqlStore {
    async fn create_concert(
        &self,
        once: Once,
        id: ResourceId,
        concert: NewConcert,
    ) -> Result<Concert, SalesError> {
        concert.validate()?;
        self.write((once, id, concert), |tx, (once, id, concert)| {
            house::create_concert(tx, once, id, concert).boxed()
        })
        .await
    }

    async fn create_performance(
        &self,
        once: Once,
        id: ResourceId,
        performance: NewPerformance,
    ) -> Result<Performance, SalesError> {
        performance.validate()?;
        self.write((once, id, performance), |tx, (once, id, performance)| {
            house::create_performance(tx, once, id, performance).boxed()
        })
        .await
    }

    async fn create_first(&self, catalog: FirstCatalog) -> Result<bool, SalesError> {
        for (_, performance) in &catalog.performances {
            performance.validate()?;
        }
        self.write(catalog, |tx, catalog| {
            house::create_first(tx, catalog).boxed()
        })
        .await
    }

    async fn block_seats(&self, command: BlockSeats) -> Result<Blocked, SalesError> {
        self.write(command, |tx, command| block::block(tx, command).boxed())
            .await
    }

    async fn concerts(
        &self,
        page: Page<ConcertCursor>,
    ) -> Result<Listing<Concert, ConcertCursor>, SalesError> {
        self.read(page, |tx, page| catalog::concerts(tx, page).boxed())
            .await
    }

    async fn concert(&self, id: ResourceId) -> Result<Concert, SalesError> {
        self.read(id, |tx, id| catalog::concert(tx, id).boxed())
            .await
    }

    async fn performances(
        &self,
        concert: ResourceId,
        page: Page<PerformanceCursor>,
    ) -> Result<Listing<Performance, PerformanceCursor>, SalesError> {
        self.read((concert, page), |tx, (concert, page)| {
            catalog::performances(tx, concert, page).boxed()
        })
        .await
    }

    async fn performance(&self, id: ResourceId) -> Result<Performance, SalesError> {
        self.read(id, |tx, id| catalog::performance(tx, id).boxed())
            .await
    }

    async fn seat_map(
        &self,
        performance: ResourceId,
        since: Option<u64>,
    ) -> Result<SeatMap, SalesError> {
        self.read((performance, since), |tx, (performance, since)| {
            seats::map(tx, performance, *since).boxed()
        })
        .await
    }

    async fn check_pass(
        &self,
        user: UserId,
        performance: ResourceId,
        activation: Option<ActivationId>,
    ) -> Result<Admission, SalesError> {
        self.read(
            (user, performance, activation),
            |tx, (user, performance, activation)| {
                pass::check(tx, user, performance, *activation).boxed()
            },
        )
        .await
    }
}

#[async_trait]
impl Sales for SqlStore {
    async fn hold_seats(&self, command: HoldSeats) -> Result<Held, SalesError> {
        command.choice.validate()?;
        self.hold(command).await
    }

    async fn extend_hold(
        &self,
        user: UserId,
        reservation: ResourceId,
    ) -> Result<Reservation, SalesError> {
        self.write((user, reservation), |tx, (user, reservation)| {
            hold::extend(tx, user, reservation).boxed()
        })
        .await
    }

    async fn cancel_reservation(
        &self,
        command: CancelReservation,
    ) -> Result<Cancelled, SalesError> {
        if !command.seats.is_empty() {
            SeatChoice::Named(command.seats.clone()).validate()?;
        }
        self.write(command, |tx, command| cancel::cancel(tx, command).boxed())
            .await
    }

    async fn reservation(
        &self,
        user: UserId,
        reservation: ResourceId,
    ) -> Result<Reservation, SalesError> {
        self.read((user, reservation), |tx, (user, reservation)| {
            reservations::shown(tx, user, reservation).boxed()
        })
        .await
    }

    async fn reservations(
        &self,
        user: UserId,
        page: Page<ReservationCursor>,
    ) -> Result<Listing<Reservation, ReservationCursor>, SalesError> {
        self.read((user, page), |tx, (user, page)| {
            reservations::list(tx, user, page).boxed()
        })
        .await
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, SalesError> {
        self.write_background(limit, |tx, limit| expiry::sweep(tx, *limit).boxed())
            .await
    }
}

#[async_trait]
impl Wallets for SqlStore {
    async fn balance(&self, user: UserId, currency: Currency) -> Result<Money, SalesError> {
        self.read((user, currency), |tx, (user, currency)| {
            wallet::balance(tx, user, *currency).boxed()
        })
        .await
    }

    async fn wallet_entries(
        &self,
        user: UserId,
        currency: Currency,
        page: Page<EntryCursor>,
    ) -> Result<Listing<WalletEntry, EntryCursor>, SalesError> {
        self.read((user, currency, page), |tx, (user, currency, page)| {
            wallet::entries(tx, user, *currency, page).boxed()
        })
        .await
    }

    async fn top_up(&self, deposit: Deposit) -> Result<WalletEntry, SalesError> {
        deposit.amount.charge(deposit.amount_max_minor)?;
        self.put_in(deposit).await
    }

    async fn credit(&self, deposit: Deposit) -> Result<WalletEntry, SalesError> {
        deposit.amount.charge(deposit.amount_max_minor)?;
        self.write(deposit, |tx, deposit| wallet::credit(tx, deposit).boxed())
            .await
    }

    async fn pay_reservation(&self, command: PayReservation) -> Result<Paid, SalesError> {
        self.pay(command).await
    }

    async fn refund_payment(&self, command: RefundPayment) -> Result<Refunded, SalesError> {
        self.write(command, |tx, command| refund::refund(tx, command).boxed())
            .await
    }

    async fn payment(&self, user: UserId, payment: ResourceId) -> Result<Payment, SalesError> {
        self.read((user, payment), |tx, (user, payment)| {
            pay::shown(tx, user, payment).boxed()
        })
        .await
    }
}

#[async_trait]
impl Answers for SqlStore {
    async fn first_answer(&self, asked: Asked) -> Result<Option<Vec<u8>>, SalesError> {
        self.write(asked, |tx, asked| {
            async move { Slot::of(asked)?.replay(tx).await }.boxed()
        })
        .await
    }

    async fn keep_answer(&self, asked: Asked, answer: Vec<u8>) -> Result<Vec<u8>, SalesError> {
        self.write((asked, answer), |tx, (asked, answer)| {
            async move {
                let slot = Slot::of(asked)?;
                match slot.replay(tx).await? {
                    Some(first) => Ok(first),
                    None => slot.keep(tx, answer.clone()),
                }
            }
            .boxed()
        })
        .await
    }
}

#[async_trait]
impl Audit for SqlStore {
    async fn audit(&self) -> Result<AuditReport, SalesError> {
        self.read_at_length((), |tx, ()| audit::audit(tx).boxed())
            .await
    }
}
