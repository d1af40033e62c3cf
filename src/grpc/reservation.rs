//! Holds and reservations.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::ids::ResourceId;
use crate::domain::sale::command::{BestAvailable, SeatChoice};
use crate::domain::sale::hold::Reservation;
use crate::proto::v1 as wire;
use crate::proto::v1::reservation_service_server::ReservationService;
use crate::store::sales::CancelReservation;

use super::decode::{self, FieldError};
use super::edge::{Edge, once, open, open_traced};
use super::encode;
use super::status::Refusal;

/// Serves `ReservationService`.
#[derive(Clone)]
pub struct Reservations {
    edge: Arc<Edge>,
}

impl Reservations {
    #[must_use]
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    fn encode(&self, reservation: Reservation) -> Option<wire::Reservation> {
        let keys = self.edge.keys.current();
        Some(encode::sale::reservation(
            reservation,
            self.edge.now(),
            &keys.tickets,
        ))
    }

    async fn hold(
        &self,
        request: Request<wire::HoldSeatsRequest>,
    ) -> Result<wire::HoldSeatsResponse, Refusal> {
        let pass = self.edge.pass(&request)?;
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let performance = decode::resource_id("performance_id", &message.performance_id)?;
        let choice = seat_choice(&message.seat_ids, message.best_available)?;
        let pass = pass.map(|pass| pass.activation);
        let sale = &self.edge.sale;
        let held = sale
            .hold_seats(once(&user, key), performance, choice, pass)
            .await?;
        Ok(wire::HoldSeatsResponse {
            reservation: self.encode(held),
        })
    }

    async fn get(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<wire::GetReservationResponse, Refusal> {
        let (user, message) = open(request)?;
        let id = reservation_id(&message.reservation_id)?;
        let reservation = self.edge.sale.store().reservation(user, id).await?;
        Ok(wire::GetReservationResponse {
            reservation: self.encode(reservation),
        })
    }

    async fn list(
        &self,
        request: Request<wire::ListReservationsRequest>,
    ) -> Result<wire::ListReservationsResponse, Refusal> {
        let (user, message) = open(request)?;
        let scope = ["ListReservations", user.as_str()];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let listing = self
            .edge
            .sale
            .store()
            .reservations(user.clone(), page)
            .await?;
        let reservations = listing.items.into_iter();
        Ok(wire::ListReservationsResponse {
            reservations: reservations.filter_map(|item| self.encode(item)).collect(),
            next_page_token: self.edge.next_page_token(&scope, listing.next.as_ref()),
        })
    }

    async fn extend(
        &self,
        request: Request<wire::ExtendHoldRequest>,
    ) -> Result<wire::ExtendHoldResponse, Refusal> {
        let (user, message) = open(request)?;
        let id = reservation_id(&message.reservation_id)?;
        let reservation = self.edge.sale.extend_hold(user, id).await?;
        Ok(wire::ExtendHoldResponse {
            reservation: self.encode(reservation),
        })
    }

    async fn cancel(
        &self,
        request: Request<wire::CancelReservationRequest>,
    ) -> Result<wire::CancelReservationResponse, Refusal> {
        let (asker, message) = open_traced(request)?;
        let id = reservation_id(&message.reservation_id)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let seats = decode::resource_ids("seat_ids", &message.seat_ids)?;
        let command = CancelReservation {
            once: asker.once(key),
            reservation: id,
            seats,
        };
        let cancelled = self.edge.sale.cancel_reservation(command).await?;
        Ok(wire::CancelReservationResponse {
            reservation: self.encode(cancelled.reservation),
            refunded: cancelled.refunded.map(encode::money),
        })
    }
}

fn reservation_id(text: &str) -> Result<ResourceId, FieldError> {
    decode::resource_id("reservation_id", text)
}

/// Exactly one of the two ways to choose.
fn seat_choice(
    seat_ids: &[String],
    best: Option<wire::BestAvailable>,
) -> Result<SeatChoice, Refusal> {
    let choice = match (seat_ids, best) {
        ([], Some(best)) => SeatChoice::BestAvailable(BestAvailable {
            count: best.count,
            section: best
                .section
                .map(|section| decode::text("best_available.section", &section))
                .transpose()?,
            max_price: best
                .max_price
                .as_ref()
                .map(|price| decode::money("best_available.max_price", Some(price)))
                .transpose()?,
            adjacent: best.adjacent.unwrap_or(false),
        }),
        (seat_ids, None) => SeatChoice::Named(decode::resource_ids("seat_ids", seat_ids)?),
        (_, Some(_)) => {
            let why = "must not be set together with best_available";
            return Err(FieldError::invalid("seat_ids", why).into());
        }
    };
    choice
        .validate()
        .map_err(|error| FieldError::invalid(error.field, error.why))?;
    Ok(choice)
}

#[tonic::async_trait]
impl ReservationService for Reservations {
    async fn hold_seats(
        &self,
        request: Request<wire::HoldSeatsRequest>,
    ) -> Result<Response<wire::HoldSeatsResponse>, Status> {
        self.edge.answer(self.hold(request).await)
    }

    async fn get_reservation(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<Response<wire::GetReservationResponse>, Status> {
        self.edge.answer(self.get(request).await)
    }

    async fn list_reservations(
        &self,
        request: Request<wire::ListReservationsRequest>,
    ) -> Result<Response<wire::ListReservationsResponse>, Status> {
        self.edge.answer(self.list(request).await)
    }

    async fn extend_hold(
        &self,
        request: Request<wire::ExtendHoldRequest>,
    ) -> Result<Response<wire::ExtendHoldResponse>, Status> {
        self.edge.answer(self.extend(request).await)
    }

    async fn cancel_reservation(
        &self,
        request: Request<wire::CancelReservationRequest>,
    ) -> Result<Response<wire::CancelReservationResponse>, Status> {
        self.edge.answer(self.cancel(request).await)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::proto::v1::ErrorReason;

    fn best(count: u32) -> wire::BestAvailable {
        wire::BestAvailable {
            count,
            ..wire::BestAvailable::default()
        }
    }

    #[test]
    fn seats_are_named_once_or_left_to_the_server() {
        let ids = |count: usize| (0..count).map(|n| format!("A-{n}")).collect::<Vec<_>>();
        let twice = vec!["A-1".to_owned(), "A-1".to_owned()];
        let hostile = vec!["A-1".to_owned(), "A'--".to_owned()];
        let odd_section = wire::BestAvailable {
            section: Some("\0".to_owned()),
            ..best(1)
        };
        let odd_price = wire::BestAvailable {
            max_price: Some(wire::Money::default()),
            ..best(1)
        };
        let cases = [
            (ids(1), None, true),
            (ids(100), None, true),
            (vec![], Some(best(1)), true),
            (vec![], None, false),
            (ids(101), None, false),
            (ids(100_000), None, false),
            (twice, None, false),
            (hostile, None, false),
            (ids(1), Some(best(1)), false),
            (vec![], Some(best(0)), false),
            (vec![], Some(best(101)), false),
            (vec![], Some(best(u32::MAX)), false),
            (vec![], Some(odd_section), false),
            (vec![], Some(odd_price), false),
        ];
        for (index, (seat_ids, best, is_good)) in cases.into_iter().enumerate() {
            let choice = seat_choice(&seat_ids, best);
            assert_eq!(choice.is_ok(), is_good, "case {index}");
            if let Err(refusal) = choice {
                assert_eq!(refusal.code(), Code::InvalidArgument, "case {index}");
                assert_eq!(refusal.reason(), Some(ErrorReason::FieldInvalid));
            }
        }
    }
}
