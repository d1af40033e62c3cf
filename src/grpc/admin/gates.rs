//! Tickets at the gate.

use tonic::Request;

use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;
use crate::store::sales::{SoldTicket, VoidedTicket};

use super::super::decode::{self, FieldError};
use super::super::encode;
use super::super::status::{EdgeError, Refusal};
use super::Admin;

impl Admin {
    pub(super) async fn redeem(
        &self,
        request: Request<wire::RedeemTicketRequest>,
    ) -> Result<wire::RedeemTicketResponse, Refusal> {
        let code = request.into_inner().code;
        if code.is_empty() {
            return Err(FieldError::Missing("code").into());
        }
        let keys = self.edge.keys.current();
        let claims = keys.tickets.verify(&code).map_err(EdgeError::from)?;
        let ticket = SoldTicket {
            performance: claims.performance,
            seat: claims.seat,
            serial: claims.serial,
            reservation: claims.reservation,
        };
        let redeemed = self.edge.sale.redeem_ticket(ticket.clone()).await?;
        Ok(wire::RedeemTicketResponse {
            ticket: Some(wire::Ticket {
                seat_id: ticket.seat.into(),
                serial: ticket.serial,
                code,
            }),
            redeemed_before: redeemed.before,
            performance_id: ticket.performance.into(),
            redeem_time: Some(encode::timestamp(redeemed.redeemed_at)),
        })
    }

    pub(super) async fn list_voided(
        &self,
        request: Request<wire::ListVoidedTicketsRequest>,
    ) -> Result<wire::ListVoidedTicketsResponse, Refusal> {
        let message = request.into_inner();
        let performance = decode::resource_id("performance_id", &message.performance_id)?;
        let since = message.since.map(|since| decode::timestamp("since", since));
        let since = since.transpose()?.unwrap_or(UnixMs(0));
        let from = since.0.to_string();
        let scope = ["ListVoidedTickets", performance.as_str(), &from];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let store = self.edge.sale.store();
        let listing = store
            .voided_tickets(performance.clone(), since, page)
            .await?;
        Ok(wire::ListVoidedTicketsResponse {
            tickets: listing.items.into_iter().map(voided).collect(),
            next_page_token: self.edge.next_page_token(&scope, listing.next.as_ref()),
        })
    }
}

fn voided(ticket: VoidedTicket) -> wire::VoidedTicket {
    wire::VoidedTicket {
        seat_id: ticket.seat.into(),
        serial: ticket.serial,
        void_time: Some(encode::timestamp(ticket.voided_at)),
        redeem_time: ticket.redeemed_at.map(encode::timestamp),
    }
}
