//! The catalog, and money by hand.

use tonic::Request;

use crate::proto::v1 as wire;
use crate::store::sales::{BlockSeats, Deposit, RefundPayment};

use super::super::decode::{self, sale};
use super::super::edge::{once, open};
use super::super::encode;
use super::super::status::Refusal;
use super::Admin;

impl Admin {
    pub(super) async fn make_concert(
        &self,
        request: Request<wire::CreateConcertRequest>,
    ) -> Result<wire::CreateConcertResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let concert = sale::concert(decode::required("concert", message.concert)?)?;
        let id = self.edge.new_id("con");
        let concert = self
            .edge
            .store
            .create_concert(once(&user, key), id, concert)
            .await?;
        Ok(wire::CreateConcertResponse {
            concert: Some(encode::sale::concert(concert)),
        })
    }

    pub(super) async fn make_performance(
        &self,
        request: Request<wire::CreatePerformanceRequest>,
    ) -> Result<wire::CreatePerformanceResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let asked = decode::required("performance", message.performance)?;
        let performance = sale::performance(asked)?;
        let id = self.edge.new_id("perf");
        let store = &self.edge.store;
        let performance = store
            .create_performance(once(&user, key), id, performance)
            .await?;
        // New seats undo SOLD_OUT of a room that protects their concert.
        if let Some(room) = &performance.room {
            self.edge.engine.refresh_sold_out(room).await?;
        }
        Ok(wire::CreatePerformanceResponse {
            performance: Some(encode::sale::performance(performance)),
        })
    }

    pub(super) async fn block(
        &self,
        request: Request<wire::BlockSeatsRequest>,
    ) -> Result<wire::BlockSeatsResponse, Refusal> {
        let message = request.into_inner();
        let performance = decode::resource_id("performance_id", &message.performance_id)?;
        let seats = decode::resource_ids("seat_ids", &message.seat_ids)?;
        if seats.is_empty() {
            return Err(decode::FieldError::Missing("seat_ids").into());
        }
        let command = BlockSeats {
            performance,
            seats,
            blocked: message.blocked,
            reason: decode::reason("reason", &message.reason)?,
        };
        let blocked = self.edge.store.block_seats(command).await?;
        self.edge.seats_changed(blocked.changed).await;
        Ok(wire::BlockSeatsResponse {
            seats: blocked.seats.into_iter().map(encode::sale::seat).collect(),
        })
    }

    pub(super) async fn credit(
        &self,
        request: Request<wire::CreditWalletRequest>,
    ) -> Result<wire::CreditWalletResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let deposit = Deposit {
            once: once(&user, key),
            id: self.edge.new_id("credit"),
            wallet: decode::user_id("user_id", &message.user_id)?,
            amount: decode::money("amount", message.amount.as_ref())?,
            amount_max_minor: self.edge.settings.balance_max_minor,
            balance_max_minor: self.edge.settings.balance_max_minor,
            reason: decode::reason("reason", &message.reason)?,
        };
        let entry = self.edge.store.credit(deposit).await?;
        Ok(wire::CreditWalletResponse {
            entry: Some(encode::sale::wallet_entry(entry)),
        })
    }

    pub(super) async fn refund(
        &self,
        request: Request<wire::RefundPaymentRequest>,
    ) -> Result<wire::RefundPaymentResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let amount = message.amount.as_ref();
        let command = RefundPayment {
            once: once(&user, key),
            payment: decode::resource_id("payment_id", &message.payment_id)?,
            amount: amount
                .map(|amount| decode::money("amount", Some(amount)))
                .transpose()?,
            reason: decode::reason("reason", &message.reason)?,
        };
        let payment = self.edge.store.refund_payment(command).await?;
        Ok(wire::RefundPaymentResponse {
            payment: Some(encode::sale::payment(payment)),
        })
    }
}
