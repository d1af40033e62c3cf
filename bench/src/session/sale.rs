//! The sale as one user meets it: performances, seats, hold, money, payment.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, distr::Alphanumeric};
use usher::domain::ids::IdempotencyKey;
use usher::proto::v1 as wire;
use usher::proto::v1::catalog_service_client::CatalogServiceClient;
use usher::proto::v1::payment_service_client::PaymentServiceClient;
use usher::proto::v1::reservation_service_client::ReservationServiceClient;
use usher::truth::history::{AdminOp, Answer, Op, SaleOp, Wanted};

use super::line::answered;
use super::{Refused, Session};
use crate::trace;

const KEY_CHARS: usize = 22;

/// Where a user's money comes from.
#[derive(Clone)]
pub enum Purse {
    /// Play money, which development mode gives out.
    Sandbox,
    /// An operator's credit.
    Operator(Arc<Session>),
}

pub fn key() -> IdempotencyKey {
    let random: String = rand::rng()
        .sample_iter(Alphanumeric)
        .take(KEY_CHARS)
        .map(char::from)
        .collect();
    IdempotencyKey::parse(&random).expect("letters and digits")
}

impl Session {
    /// All of them, page by page.
    pub async fn performances(&self, concert_id: &str) -> Result<Vec<wire::Performance>, Refused> {
        let mut message = wire::ListPerformancesRequest {
            concert_id: concert_id.to_owned(),
            page_size: 100,
            page_token: String::new(),
        };
        let send = |channel, request| async move {
            CatalogServiceClient::new(channel)
                .list_performances(request)
                .await
        };
        let mut performances = Vec::new();
        loop {
            let reply = self
                .look("ListPerformances", message.clone(), None, send)
                .await?;
            performances.extend(reply.performances);
            if reply.next_page_token.is_empty() {
                return Ok(performances);
            }
            message.page_token = reply.next_page_token;
        }
    }

    /// The seats that can be had.
    pub async fn free_seats(
        &self,
        performance_id: &str,
        pass: &str,
    ) -> Result<Vec<String>, Refused> {
        let message = wire::GetSeatMapRequest {
            performance_id: performance_id.to_owned(),
        };
        let send = |channel, request| async move {
            CatalogServiceClient::new(channel)
                .get_seat_map(request)
                .await
        };
        let reply: wire::GetSeatMapResponse =
            self.look("GetSeatMap", message, Some(pass), send).await?;
        let free = reply.seats.into_iter();
        let free = free.filter(|seat| seat.state() == wire::SeatState::Available);
        Ok(free.map(|seat| seat.id).collect())
    }

    /// One or two seats at random, and others while these are taken.
    pub async fn hold_any(
        &self,
        performance_id: &str,
        turn_id: &str,
        pass: &str,
    ) -> Result<wire::Reservation, Refused> {
        let wanted = rand::rng().random_range(1..=2);
        let mut free = self.free_seats(performance_id, pass).await?;
        loop {
            let picked: Vec<String> = free
                .choose_multiple(&mut rand::rng(), wanted)
                .cloned()
                .collect();
            if picked.is_empty() {
                let (rpc, reason) = ("HoldSeats", "NO_SEAT_LEFT".to_owned());
                self.ground.tally.refusal(rpc, &reason);
                return Err(Refused { rpc, reason });
            }
            match self
                .hold(performance_id, picked.clone(), turn_id, pass)
                .await
            {
                Err(refused) if refused.reason == "SEAT_UNAVAILABLE" => {
                    free.retain(|seat| !picked.contains(seat));
                    if free.len() < wanted {
                        free = self.free_seats(performance_id, pass).await?;
                    }
                }
                held => return held,
            }
        }
    }

    pub async fn hold(
        &self,
        performance_id: &str,
        seat_ids: Vec<String>,
        turn_id: &str,
        pass: &str,
    ) -> Result<wire::Reservation, Refused> {
        let key = key();
        let message = wire::HoldSeatsRequest {
            performance_id: performance_id.to_owned(),
            seat_ids: seat_ids.clone(),
            best_available: None,
            idempotency_key: key.as_str().to_owned(),
        };
        let note = |answer: Answer<&wire::HoldSeatsResponse>| {
            Op::Sale(SaleOp::Hold {
                performance: trace::id(performance_id),
                wanted: Wanted::Seats(seat_ids.iter().map(|seat| trace::id(seat)).collect()),
                key: key.clone(),
                pass: Some(trace::activation(turn_id)),
                answer: answered(answer, |reply| {
                    trace::reservation(&reply.reservation.clone().unwrap_or_default())
                }),
            })
        };
        let send = |channel, request| async move {
            ReservationServiceClient::new(channel)
                .hold_seats(request)
                .await
        };
        let reply = self
            .call("HoldSeats", message, Some(pass), send, note)
            .await?;
        Ok(reply.reservation.unwrap_or_default())
    }

    /// Puts what a reservation costs into the caller's wallet.
    pub async fn fill_wallet(&self, amount: wire::Money, purse: &Purse) -> Result<(), Refused> {
        match purse {
            Purse::Sandbox => self.top_up(amount).await,
            Purse::Operator(operator) => operator.credit(self, amount).await,
        }
    }

    async fn top_up(&self, amount: wire::Money) -> Result<(), Refused> {
        let key = key();
        let message = wire::TopUpWalletRequest {
            amount: Some(amount.clone()),
            source: Some(wire::top_up_wallet_request::Source::Sandbox(
                wire::SandboxSource {},
            )),
            idempotency_key: key.as_str().to_owned(),
        };
        let note = |answer: Answer<&wire::TopUpWalletResponse>| {
            Op::Sale(SaleOp::TopUp {
                amount: trace::amount(Some(&amount)),
                key: key.clone(),
                answer: answered(answer, |reply| {
                    trace::id(reply.entry.as_ref().map_or("", |entry| &entry.id))
                }),
            })
        };
        let send = |channel, request| async move {
            PaymentServiceClient::new(channel)
                .top_up_wallet(request)
                .await
        };
        self.call("TopUpWallet", message, None, send, note).await?;
        Ok(())
    }

    async fn credit(&self, user: &Session, amount: wire::Money) -> Result<(), Refused> {
        let (key, user) = (key(), user.caller.user.clone());
        let message = wire::CreditWalletRequest {
            user_id: user.as_str().to_owned(),
            amount: Some(amount.clone()),
            reason: "money for a journey".to_owned(),
            idempotency_key: key.as_str().to_owned(),
        };
        let note = |answer: Answer<&wire::CreditWalletResponse>| {
            Op::Admin(AdminOp::CreditWallet {
                user: user.clone(),
                amount: trace::amount(Some(&amount)),
                key: key.clone(),
                answer: answered(answer, |reply| {
                    trace::id(reply.entry.as_ref().map_or("", |entry| &entry.id))
                }),
            })
        };
        let send = |channel, request| async move {
            let mut client = wire::admin_service_client::AdminServiceClient::new(channel);
            client.credit_wallet(request).await
        };
        self.call("CreditWallet", message, None, send, note).await?;
        Ok(())
    }

    pub async fn pay(&self, reservation_id: &str) -> Result<wire::Payment, Refused> {
        let key = key();
        let message = wire::PayReservationRequest {
            reservation_id: reservation_id.to_owned(),
            method: Some(wire::pay_reservation_request::Method::Wallet(
                wire::WalletSource {},
            )),
            coupon_id: None,
            idempotency_key: key.as_str().to_owned(),
        };
        let note = |answer: Answer<&wire::PayReservationResponse>| {
            Op::Sale(SaleOp::Pay {
                reservation: trace::id(reservation_id),
                from_wallet: true,
                key: key.clone(),
                answer: answered(answer, |reply| {
                    trace::payment(&reply.payment.clone().unwrap_or_default())
                }),
            })
        };
        let send = |channel, request| async move {
            PaymentServiceClient::new(channel)
                .pay_reservation(request)
                .await
        };
        let reply = self
            .call("PayReservation", message, None, send, note)
            .await?;
        Ok(reply.payment.unwrap_or_default())
    }
}
