//! What a visitor does with a pass: looks around, buys with play money or goes.

use std::time::Duration;

use tokio::time::sleep;
use tonic::{Request, Status};

use crate::entropy::{Entropy, SystemEntropy};
use crate::proto::v1 as wire;
use crate::proto::v1::pay_reservation_request::Method;
use crate::proto::v1::payment_service_client::PaymentServiceClient;
use crate::proto::v1::reservation_service_client::ReservationServiceClient;
use crate::proto::v1::top_up_wallet_request::Source;

use super::tally::count;
use super::visitor::Visitor;

const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(4);
/// One in so many buys.
const BUYERS_ONE_IN: u32 = 2;
const SEATS: u32 = 2;

impl Visitor {
    /// Ends with the slot free again: by the payment, or by leaving.
    pub(super) async fn look_around(&self, token: &str, pass: &str) {
        sleep(LOOK_MIN + (LOOK_MAX - LOOK_MIN).mul_f64(SystemEntropy.fraction())).await;
        if self.index.is_multiple_of(BUYERS_ONE_IN)
            && let Some(performance) = self.favourite()
            && let Ok(true) = self.buy(performance, pass).await
        {
            count(&self.tally.bought);
            return;
        }
        self.leave(token).await;
        count(&self.tally.went);
    }

    /// The crowd spreads over all that is on sale.
    fn favourite(&self) -> Option<&str> {
        let taste = usize::try_from(self.index / BUYERS_ONE_IN).ok()?;
        let chosen = taste.checked_rem(self.sale.len())?;
        self.sale.get(chosen).map(String::as_str)
    }

    /// Whether it is paid. A hold that is not runs out by itself.
    async fn buy(&self, performance: &str, pass: &str) -> Result<bool, Status> {
        let mut hold = Request::new(wire::HoldSeatsRequest {
            performance_id: performance.to_owned(),
            seat_ids: Vec::new(),
            best_available: Some(wire::BestAvailable {
                count: SEATS,
                ..wire::BestAvailable::default()
            }),
            idempotency_key: key(),
        });
        let pass = pass
            .parse()
            .map_err(|_| Status::internal("the pass is no header value"))?;
        hold.metadata_mut().insert("x-usher-pass", pass);
        let mut reservations = ReservationServiceClient::new(self.line.clone());
        let held = reservations.hold_seats(hold).await?.into_inner();
        let reservation = held.reservation.unwrap_or_default();

        let mut payments = PaymentServiceClient::new(self.line.clone());
        let top_up = wire::TopUpWalletRequest {
            amount: reservation.total,
            source: Some(Source::Sandbox(wire::SandboxSource {})),
            idempotency_key: key(),
        };
        payments.top_up_wallet(top_up).await?;
        let pay = wire::PayReservationRequest {
            reservation_id: reservation.id,
            method: Some(Method::Wallet(wire::WalletSource {})),
            coupon_id: None,
            idempotency_key: key(),
        };
        let paid = payments.pay_reservation(pay).await?.into_inner().payment;
        Ok(paid.is_some_and(|payment| payment.state() == wire::PaymentState::Succeeded))
    }
}

fn key() -> String {
    SystemEntropy.uuid().to_string()
}
