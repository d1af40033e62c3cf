//! The commands, each run to its end and then told.

use super::SaleEngine;
use crate::bus::BusMessage;
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::sale::catalog::{Concert, NewConcert, NewPerformance, Performance};
use crate::domain::sale::command::{FieldError, SeatChoice};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::{AMOUNT_MINOR_MAX, Money};
use crate::domain::sale::payment::Payment;
use crate::store::sales::{
    BlockSeats, Blocked, CancelReservation, Cancelled, Deposit, HoldSeats, Once, Paid,
    PayReservation, Redeemed, RefundPayment, SalesError, SeatsChanged, SoldTicket, UpdateConcert,
    UpdatePerformance,
};
use crate::truth::failpoint::Point;

impl SaleEngine {
    /// # Errors
    /// As `Catalog::create_concert`.
    pub async fn create_concert(
        &self,
        once: Once,
        concert: NewConcert,
    ) -> Result<Concert, SalesError> {
        let id = self.fresh_id()?;
        let sale = self.clone();
        self.to_the_end(async move {
            let made = sale.store().create_concert(once, id, concert).await?;
            sale.0.bus.publish(BusMessage::CatalogChanged);
            Ok(made)
        })
        .await
    }

    /// # Errors
    /// As `Catalog::create_performance`; a currency that no wallet has is a
    /// mismatch: nobody could pay.
    pub async fn create_performance(
        &self,
        once: Once,
        performance: NewPerformance,
    ) -> Result<Performance, SalesError> {
        if let Some(currency) = performance.currency() {
            self.check_served(currency)?;
        }
        let id = self.fresh_id()?;
        let sale = self.clone();
        self.to_the_end(async move {
            let store = sale.store();
            let made = store.create_performance(once, id, performance).await?;
            // Before the answer: whoever made it finds it.
            sale.0.bus.publish(BusMessage::CatalogChanged);
            let changed = SeatsChanged {
                performance: made.id.clone(),
                turned: false,
                // A room that was sold out has seats again.
                recheck_sold_out: made.room.clone(),
            };
            sale.tell(changed, None);
            Ok(made)
        })
        .await
    }

    /// # Errors
    /// As `Operators::update_concert`.
    pub async fn update_concert(&self, command: UpdateConcert) -> Result<Concert, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let updated = sale.store().update_concert(command).await?;
            sale.0.bus.publish(BusMessage::CatalogChanged);
            Ok(updated)
        })
        .await
    }

    /// # Errors
    /// As `Operators::update_performance`.
    pub async fn update_performance(
        &self,
        command: UpdatePerformance,
    ) -> Result<Performance, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let updated = sale.store().update_performance(command).await?;
            sale.0.bus.publish(BusMessage::CatalogChanged);
            sale.tell(updated.changed, None);
            Ok(updated.performance)
        })
        .await
    }

    /// # Errors
    /// As `Catalog::block_seats`.
    pub async fn block_seats(&self, command: BlockSeats) -> Result<Blocked, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let blocked = sale.store().block_seats(command).await?;
            sale.tell(blocked.changed.clone(), None);
            Ok(blocked)
        })
        .await
    }

    /// `pass` is the `jti` of the pass that was shown, already verified.
    ///
    /// # Errors
    /// As `Sales::hold_seats`.
    pub async fn hold_seats(
        &self,
        once: Once,
        performance: ResourceId,
        choice: SeatChoice,
        pass: Option<ActivationId>,
    ) -> Result<Reservation, SalesError> {
        let command = HoldSeats {
            once,
            id: self.fresh_id()?,
            performance,
            choice,
            activation: pass,
        };
        let sale = self.clone();
        self.to_the_end(async move {
            let held = sale.store().hold_seats(command).await?;
            sale.0.failpoints.hit(Point::HoldCommitted).await?;
            sale.tell(held.changed, None);
            Ok(held.reservation)
        })
        .await
    }

    /// # Errors
    /// As `Sales::extend_hold`.
    pub async fn extend_hold(
        &self,
        user: UserId,
        reservation: ResourceId,
    ) -> Result<Reservation, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let extended = sale.store().extend_hold(user, reservation).await?;
            sale.seats_changed(extended.performance.clone());
            Ok(extended)
        })
        .await
    }

    /// # Errors
    /// As `Sales::cancel_reservation`.
    pub async fn cancel_reservation(
        &self,
        command: CancelReservation,
    ) -> Result<Cancelled, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let (user, reservation) = (command.once.user.clone(), command.reservation.clone());
            let cancelled = match sale.store().cancel_reservation(command.clone()).await {
                Err(SalesError::PaymentInProgress)
                    if sale.give_up_waiting(&user, &reservation).await? =>
                {
                    sale.store().cancel_reservation(command).await?
                }
                cancelled => cancelled?,
            };
            sale.0.failpoints.hit(Point::CancelCommitted).await?;
            sale.tell(cancelled.changed.clone(), None);
            Ok(cancelled)
        })
        .await
    }

    /// # Errors
    /// As `Gates::redeem_ticket`.
    pub async fn redeem_ticket(&self, ticket: SoldTicket) -> Result<Redeemed, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let redeemed = sale.store().redeem_ticket(ticket).await?;
            sale.0.failpoints.hit(Point::RedeemCommitted).await?;
            Ok(redeemed)
        })
        .await
    }

    /// From the wallet.
    ///
    /// # Errors
    /// As `Wallets::pay_reservation`.
    pub async fn pay_reservation(
        &self,
        once: Once,
        reservation: ResourceId,
        coupon: Option<ResourceId>,
    ) -> Result<Payment, SalesError> {
        let command = PayReservation {
            once,
            id: self.fresh_id()?,
            reservation,
            coupon,
        };
        let sale = self.clone();
        self.to_the_end(async move {
            let (user, reservation) = (command.once.user.clone(), command.reservation.clone());
            let paid = match sale.store().pay_reservation(command.clone()).await {
                Err(SalesError::PaymentInProgress)
                    if sale.give_up_waiting(&user, &reservation).await? =>
                {
                    sale.store().pay_reservation(command).await?
                }
                paid => paid?,
            };
            let Paid {
                payment,
                changed,
                completed,
            } = paid;
            sale.0.failpoints.hit(Point::PaymentCommitted).await?;
            sale.tell(changed, completed);
            Ok(payment)
        })
        .await
    }

    /// Play money, by its owner.
    ///
    /// # Errors
    /// As `Wallets::top_up`; a currency that is not served is a mismatch.
    pub async fn top_up(&self, once: Once, amount: Money) -> Result<WalletEntry, SalesError> {
        let wallet = once.user.clone();
        let amount_max_minor = self.settings().top_up_minor_max;
        let deposit = self.deposit(once, wallet, amount, amount_max_minor, String::new())?;
        self.store().top_up(deposit).await
    }

    /// By an operator.
    ///
    /// # Errors
    /// As `Wallets::credit`; a currency that is not served is a mismatch.
    pub async fn credit(
        &self,
        once: Once,
        wallet: UserId,
        amount: Money,
        reason: String,
    ) -> Result<WalletEntry, SalesError> {
        if reason.trim().is_empty() {
            return Err(FieldError::new("reason", "must not be empty").into());
        }
        let deposit = self.deposit(once, wallet, amount, AMOUNT_MINOR_MAX, reason)?;
        self.store().credit(deposit).await
    }

    pub(super) fn deposit(
        &self,
        once: Once,
        wallet: UserId,
        amount: Money,
        amount_max_minor: i64,
        reason: String,
    ) -> Result<Deposit, SalesError> {
        self.check_served(amount.currency)?;
        Ok(Deposit {
            once,
            id: self.fresh_id()?,
            wallet,
            amount,
            amount_max_minor,
            balance_max_minor: self.settings().balance_minor_max,
            reason,
        })
    }

    fn check_served(&self, currency: Currency) -> Result<(), SalesError> {
        let settings = self.settings();
        if settings.currencies.contains(&currency) {
            return Ok(());
        }
        Err(SalesError::CurrencyMismatch {
            expected: settings.default_currency,
        })
    }

    /// # Errors
    /// As `Wallets::refund_payment`.
    pub async fn refund_payment(&self, command: RefundPayment) -> Result<Payment, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let refunded = sale.store().refund_payment(command).await?;
            if let Some(changed) = refunded.changed {
                sale.tell(changed, None);
            }
            Ok(refunded.payment)
        })
        .await
    }
}
