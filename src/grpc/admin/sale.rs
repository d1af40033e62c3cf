//! The catalog, and money by hand.

use tonic::Request;

use crate::proto::v1 as wire;
use crate::store::sales::{
    BlockSeats, CancelPerformance, RefundPayment, UpdateConcert, UpdatePerformance,
};

use super::super::decode::{self, sale};
use super::super::edge::{once, open, open_traced};
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
        let sale = &self.edge.sale;
        let concert = sale.create_concert(once(&user, key), concert).await?;
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
        let sale = &self.edge.sale;
        let performance = sale
            .create_performance(once(&user, key), performance)
            .await?;
        Ok(wire::CreatePerformanceResponse {
            performance: Some(encode::sale::performance(performance)),
        })
    }

    pub(super) async fn change_concert(
        &self,
        request: Request<wire::UpdateConcertRequest>,
    ) -> Result<wire::UpdateConcertResponse, Refusal> {
        let message = request.into_inner();
        let asked = decode::required("concert", message.concert)?;
        let mask = message.update_mask.as_ref();
        let command = UpdateConcert {
            concert: decode::resource_id("concert.id", &asked.id)?,
            version: decode::etag("etag", &message.etag)?,
            change: sale::concert_change(
                asked,
                &decode::field_mask("update_mask", mask, sale::CONCERT_PATHS)?,
            )?,
        };
        let concert = self.edge.sale.update_concert(command).await?;
        Ok(wire::UpdateConcertResponse {
            concert: Some(encode::sale::concert(concert)),
        })
    }

    pub(super) async fn change_performance(
        &self,
        request: Request<wire::UpdatePerformanceRequest>,
    ) -> Result<wire::UpdatePerformanceResponse, Refusal> {
        let message = request.into_inner();
        let asked = decode::required("performance", message.performance)?;
        let mask = message.update_mask.as_ref();
        let command = UpdatePerformance {
            performance: decode::resource_id("performance.id", &asked.id)?,
            version: decode::etag("etag", &message.etag)?,
            change: sale::performance_change(
                asked,
                &decode::field_mask("update_mask", mask, sale::PERFORMANCE_PATHS)?,
            )?,
        };
        let performance = self.edge.sale.update_performance(command).await?;
        Ok(wire::UpdatePerformanceResponse {
            performance: Some(encode::sale::performance(performance)),
        })
    }

    pub(super) async fn call_off(
        &self,
        request: Request<wire::CancelPerformanceRequest>,
    ) -> Result<wire::CancelPerformanceResponse, Refusal> {
        let (asker, message) = open_traced(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let command = CancelPerformance {
            once: asker.once(key),
            performance: decode::resource_id("performance_id", &message.performance_id)?,
            reason: decode::reason("reason", &message.reason)?,
        };
        let cancelled = self.edge.sale.cancel_performance(command).await?;
        Ok(wire::CancelPerformanceResponse {
            performance: Some(encode::sale::performance(cancelled.performance)),
            refunds_pending: cancelled.refunds_pending,
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
        let blocked = self.edge.sale.block_seats(command).await?;
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
        let wallet = decode::user_id("user_id", &message.user_id)?;
        let amount = decode::money("amount", message.amount.as_ref())?;
        let reason = decode::reason("reason", &message.reason)?;
        let sale = &self.edge.sale;
        let entry = sale
            .credit(once(&user, key), wallet, amount, reason)
            .await?;
        Ok(wire::CreditWalletResponse {
            entry: Some(encode::sale::wallet_entry(entry)),
        })
    }

    pub(super) async fn refund(
        &self,
        request: Request<wire::RefundPaymentRequest>,
    ) -> Result<wire::RefundPaymentResponse, Refusal> {
        let (asker, message) = open_traced(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let amount = message.amount.as_ref();
        let command = RefundPayment {
            once: asker.once(key),
            payment: decode::resource_id("payment_id", &message.payment_id)?,
            amount: amount
                .map(|amount| decode::money("amount", Some(amount)))
                .transpose()?,
            reason: decode::reason("reason", &message.reason)?,
        };
        let payment = self.edge.sale.refund_payment(command).await?;
        Ok(wire::RefundPaymentResponse {
            payment: Some(encode::sale::payment(payment)),
        })
    }
}
