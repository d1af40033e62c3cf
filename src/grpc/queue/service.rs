//! `QueueService`: each RPC is a use case of [`Queue`] and its answer.

use tonic::{Request, Response, Status};

use crate::proto::v1 as wire;
use crate::proto::v1::queue_service_server::QueueService;

use super::super::handover::{Handover, WatchBody};
use super::Queue;

#[tonic::async_trait]
impl QueueService for Queue {
    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        self.edge.answer(self.take_place(request).await)
    }

    type WatchStream = WatchBody;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<WatchBody>, Status> {
        let stream = self.open_watch(request).await;
        self.edge.answer_stream(stream).map(Handover::offer)
    }

    async fn get_place(
        &self,
        request: Request<wire::GetPlaceRequest>,
    ) -> Result<Response<wire::GetPlaceResponse>, Status> {
        self.edge.answer(self.show_place(request).await)
    }

    async fn claim(
        &self,
        request: Request<wire::ClaimRequest>,
    ) -> Result<Response<wire::ClaimResponse>, Status> {
        self.edge.answer(self.claim_turn(request).await)
    }

    async fn leave(
        &self,
        request: Request<wire::LeaveRequest>,
    ) -> Result<Response<wire::LeaveResponse>, Status> {
        self.edge.answer(self.leave_place(request).await)
    }

    async fn get_room(
        &self,
        request: Request<wire::GetRoomRequest>,
    ) -> Result<Response<wire::GetRoomResponse>, Status> {
        self.edge.answer(self.show_room(request.get_ref()))
    }

    async fn list_rooms(
        &self,
        request: Request<wire::ListRoomsRequest>,
    ) -> Result<Response<wire::ListRoomsResponse>, Status> {
        self.edge.answer(self.show_rooms(request.get_ref()))
    }

    async fn get_public_keys(
        &self,
        _: Request<wire::GetPublicKeysRequest>,
    ) -> Result<Response<wire::GetPublicKeysResponse>, Status> {
        self.edge.answer(Ok(self.public_keys()))
    }
}
