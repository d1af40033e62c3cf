//! What operators do. The gate has checked the role.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::proto::v1 as wire;
use crate::proto::v1::admin_service_server::AdminService;

use super::edge::{Edge, Messages};

mod campaigns;
mod gates;
mod grants;
mod rooms;
mod sale;
mod sales;
mod stats;

/// Serves `AdminService`.
#[derive(Clone)]
pub struct Admin {
    edge: Arc<Edge>,
}

impl Admin {
    #[must_use]
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_room(
        &self,
        request: Request<wire::CreateRoomRequest>,
    ) -> Result<Response<wire::CreateRoomResponse>, Status> {
        self.edge.answer(self.make_room(request).await)
    }

    async fn update_room(
        &self,
        request: Request<wire::UpdateRoomRequest>,
    ) -> Result<Response<wire::UpdateRoomResponse>, Status> {
        self.edge.answer(self.change_room(request).await)
    }

    async fn pause_room(
        &self,
        request: Request<wire::PauseRoomRequest>,
    ) -> Result<Response<wire::PauseRoomResponse>, Status> {
        self.edge.answer(self.pause(request).await)
    }

    async fn resume_room(
        &self,
        request: Request<wire::ResumeRoomRequest>,
    ) -> Result<Response<wire::ResumeRoomResponse>, Status> {
        self.edge.answer(self.resume(request).await)
    }

    async fn close_room(
        &self,
        request: Request<wire::CloseRoomRequest>,
    ) -> Result<Response<wire::CloseRoomResponse>, Status> {
        self.edge.answer(self.close(request).await)
    }

    async fn create_concert(
        &self,
        request: Request<wire::CreateConcertRequest>,
    ) -> Result<Response<wire::CreateConcertResponse>, Status> {
        self.edge.answer(self.make_concert(request).await)
    }

    async fn create_performance(
        &self,
        request: Request<wire::CreatePerformanceRequest>,
    ) -> Result<Response<wire::CreatePerformanceResponse>, Status> {
        self.edge.answer(self.make_performance(request).await)
    }

    async fn block_seats(
        &self,
        request: Request<wire::BlockSeatsRequest>,
    ) -> Result<Response<wire::BlockSeatsResponse>, Status> {
        self.edge.answer(self.block(request).await)
    }

    async fn credit_wallet(
        &self,
        request: Request<wire::CreditWalletRequest>,
    ) -> Result<Response<wire::CreditWalletResponse>, Status> {
        self.edge.answer(self.credit(request).await)
    }

    async fn refund_payment(
        &self,
        request: Request<wire::RefundPaymentRequest>,
    ) -> Result<Response<wire::RefundPaymentResponse>, Status> {
        self.edge.answer(self.refund(request).await)
    }

    type WatchRoomStatsStream = Messages<wire::WatchRoomStatsResponse>;

    async fn watch_room_stats(
        &self,
        request: Request<wire::WatchRoomStatsRequest>,
    ) -> Result<Response<Self::WatchRoomStatsStream>, Status> {
        self.edge.answer_stream(self.watch_stats(request.get_ref()))
    }

    type WatchSalesStream = Messages<wire::WatchSalesResponse>;

    async fn watch_sales(
        &self,
        request: Request<wire::WatchSalesRequest>,
    ) -> Result<Response<Self::WatchSalesStream>, Status> {
        let stream = self.watch_figures(request.get_ref()).await;
        self.edge.answer_stream(stream)
    }

    async fn grant_place(
        &self,
        request: Request<wire::GrantPlaceRequest>,
    ) -> Result<Response<wire::GrantPlaceResponse>, Status> {
        self.edge.answer(self.grant(request).await)
    }

    async fn revoke_place(
        &self,
        request: Request<wire::RevokePlaceRequest>,
    ) -> Result<Response<wire::RevokePlaceResponse>, Status> {
        self.edge.answer(self.revoke(request).await)
    }

    async fn update_concert(
        &self,
        request: Request<wire::UpdateConcertRequest>,
    ) -> Result<Response<wire::UpdateConcertResponse>, Status> {
        self.edge.answer(self.change_concert(request).await)
    }

    async fn update_performance(
        &self,
        request: Request<wire::UpdatePerformanceRequest>,
    ) -> Result<Response<wire::UpdatePerformanceResponse>, Status> {
        self.edge.answer(self.change_performance(request).await)
    }

    async fn cancel_performance(
        &self,
        request: Request<wire::CancelPerformanceRequest>,
    ) -> Result<Response<wire::CancelPerformanceResponse>, Status> {
        self.edge.answer(self.call_off(request).await)
    }

    async fn create_campaign(
        &self,
        request: Request<wire::CreateCampaignRequest>,
    ) -> Result<Response<wire::CreateCampaignResponse>, Status> {
        self.edge.answer(self.make_campaign(request).await)
    }

    async fn update_campaign(
        &self,
        request: Request<wire::UpdateCampaignRequest>,
    ) -> Result<Response<wire::UpdateCampaignResponse>, Status> {
        self.edge.answer(self.change_campaign(request).await)
    }

    async fn redeem_ticket(
        &self,
        request: Request<wire::RedeemTicketRequest>,
    ) -> Result<Response<wire::RedeemTicketResponse>, Status> {
        self.edge.answer(self.redeem(request).await)
    }

    async fn list_voided_tickets(
        &self,
        request: Request<wire::ListVoidedTicketsRequest>,
    ) -> Result<Response<wire::ListVoidedTicketsResponse>, Status> {
        self.edge.answer(self.list_voided(request).await)
    }
}
