//! Clients: who calls, with which pass, and what a stream says to them.

use std::pin::pin;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::proto::v1::catalog_service_client::CatalogServiceClient;
use usher::proto::v1::payment_service_client::PaymentServiceClient;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::proto::v1::reservation_service_client::ReservationServiceClient;
use usher::proto::v1::watch_response::Event;

use crate::harness::soon;

/// Far below what a refusal asks for.
const COME_AGAIN: Duration = Duration::from_millis(100);

/// One caller. A clone is the same one, perhaps with another pass.
#[derive(Clone)]
pub struct User {
    channel: Channel,
    pub id: String,
    metadata: Vec<(&'static str, String)>,
}

impl User {
    pub fn new(channel: Channel, id: &str) -> Self {
        Self {
            channel,
            id: id.to_owned(),
            metadata: vec![("x-user-id", id.to_owned())],
        }
    }

    /// Who shows a bearer token, on a server that asks for one.
    pub fn with_token(channel: Channel, id: &str, token: &str) -> Self {
        Self {
            channel,
            id: id.to_owned(),
            metadata: vec![("authorization", format!("Bearer {token}"))],
        }
    }

    /// The same one, on another connection.
    pub fn on(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    pub fn with_admin_role(mut self) -> Self {
        self.metadata.push(("x-user-role", "admin".to_owned()));
        self
    }

    pub fn with_pass(mut self, pass: &str) -> Self {
        self.metadata.push(("x-usher-pass", pass.to_owned()));
        self
    }

    pub fn with_trace(mut self, trace_parent: &str) -> Self {
        self.metadata.push(("traceparent", trace_parent.to_owned()));
        self
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request of this caller.
    pub fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.metadata {
            let value = MetadataValue::try_from(value).expect("ASCII");
            request.metadata_mut().append(*name, value);
        }
        request
    }

    pub fn queue(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.channel())
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel())
    }

    pub fn reservations(&self) -> ReservationServiceClient<Channel> {
        ReservationServiceClient::new(self.channel())
    }

    pub fn payments(&self) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.channel())
    }

    pub fn operator(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    /// As a client that comes again when it is told to: a store may have stood
    /// still for a moment.
    pub async fn join(&self, room: &str) -> Ticket {
        let joining = async {
            loop {
                match self.try_join(room).await {
                    Err(status) if is_for_later(&status) => tokio::time::sleep(COME_AGAIN).await,
                    joined => return joined.expect("joined"),
                }
            }
        };
        soon("a place", joining).await
    }

    pub async fn try_join(&self, room: &str) -> Result<Ticket, Status> {
        let request = self.ask(wire::JoinRequest {
            room_id: room.to_owned(),
            ..wire::JoinRequest::default()
        });
        let joined = soon("a join", self.queue().join(request))
            .await?
            .into_inner();
        Ok(Ticket {
            token: joined.place_token,
            place: joined.place.expect("a place"),
        })
    }

    pub async fn watch(&self, token: &str) -> Watching {
        let request = wire::WatchRequest {
            place_token: token.to_owned(),
            ..wire::WatchRequest::default()
        };
        self.watch_as(request).await.expect("a stream")
    }

    pub async fn watch_as(&self, request: wire::WatchRequest) -> Result<Watching, Status> {
        let request = self.ask(request);
        let stream = soon("a stream", self.queue().watch(request)).await?;
        Ok(Watching {
            stream: stream.into_inner(),
            cursor: (0, 0),
            position: None,
        })
    }

    pub async fn place(&self, token: &str) -> wire::Place {
        let request = self.ask(wire::GetPlaceRequest {
            place_token: token.to_owned(),
        });
        let answer = soon("a place", self.queue().get_place(request)).await;
        answer.expect("OK").into_inner().place.expect("a place")
    }

    pub async fn claim(&self, token: &str) -> Result<wire::ClaimResponse, Status> {
        let request = self.ask(wire::ClaimRequest {
            place_token: token.to_owned(),
        });
        let answer = soon("a claim", self.queue().claim(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub async fn leave(&self, token: &str) -> Result<(), Status> {
        let request = self.ask(wire::LeaveRequest {
            place_token: token.to_owned(),
        });
        let answer = soon("a leave", self.queue().leave(request)).await;
        answer.map(drop)
    }

    pub async fn pause(&self, room: &str) {
        let request = self.ask(wire::PauseRoomRequest {
            room_id: room.to_owned(),
            message: Some("back soon".to_owned()),
            resumes_at: None,
        });
        let paused = soon("a pause", self.operator().pause_room(request)).await;
        let room = paused.expect("OK").into_inner().room.expect("a room");
        assert_eq!(room.state(), wire::RoomState::Paused);
    }

    pub async fn resume(&self, room: &str) {
        let request = self.ask(wire::ResumeRoomRequest {
            room_id: room.to_owned(),
            message: Some("on we go".to_owned()),
        });
        let resumed = soon("going on", self.operator().resume_room(request)).await;
        resumed.expect("OK");
    }

    pub async fn close(&self, room: &str) {
        let request = self.ask(wire::CloseRoomRequest {
            room_id: room.to_owned(),
            message: Some("that was it".to_owned()),
        });
        let closed = soon("a close", self.operator().close_room(request)).await;
        let room = closed.expect("OK").into_inner().room.expect("a room");
        assert_eq!(room.state(), wire::RoomState::Closed);
    }

    /// Waits for the turn and answers it: the pass.
    pub async fn await_pass(&self, token: &str) -> String {
        let mut stream = self.watch(token).await;
        stream.activated().await;
        // A connection has only so many: many who wait to claim would have all.
        drop(stream);
        self.claim(token).await.expect("claimed").pass
    }

    pub async fn hold(
        &self,
        performance: &str,
        seats: &[&str],
        key: &str,
    ) -> Result<wire::Reservation, Status> {
        let request = self.ask(wire::HoldSeatsRequest {
            performance_id: performance.to_owned(),
            seat_ids: seats.iter().map(|&seat| seat.to_owned()).collect(),
            best_available: None,
            idempotency_key: key.to_owned(),
        });
        let answer = soon("a hold", self.reservations().hold_seats(request)).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn top_up(&self, amount_minor: i64, key: &str) -> Result<wire::WalletEntry, Status> {
        let request = self.ask(wire::TopUpWalletRequest {
            amount: Some(euros(amount_minor)),
            source: Some(wire::top_up_wallet_request::Source::Sandbox(
                wire::SandboxSource {},
            )),
            idempotency_key: key.to_owned(),
        });
        let answer = soon("a top-up", self.payments().top_up_wallet(request)).await?;
        Ok(answer.into_inner().entry.expect("an entry"))
    }

    pub async fn pay(&self, reservation: &str, key: &str) -> Result<wire::Payment, Status> {
        let request = self.ask(wire::PayReservationRequest {
            reservation_id: reservation.to_owned(),
            method: Some(wire::pay_reservation_request::Method::Wallet(
                wire::WalletSource {},
            )),
            coupon_id: None,
            idempotency_key: key.to_owned(),
        });
        let answer = soon("a payment", self.payments().pay_reservation(request)).await?;
        Ok(answer.into_inner().payment.expect("a payment"))
    }

    pub async fn pay_by_gateway(
        &self,
        reservation: &str,
        token: &str,
        key: &str,
    ) -> Result<wire::Payment, Status> {
        let gateway = wire::GatewaySource {
            token: token.to_owned(),
        };
        let request = self.ask(wire::PayReservationRequest {
            reservation_id: reservation.to_owned(),
            method: Some(wire::pay_reservation_request::Method::Gateway(gateway)),
            coupon_id: None,
            idempotency_key: key.to_owned(),
        });
        let answer = soon("a payment", self.payments().pay_reservation(request)).await?;
        Ok(answer.into_inner().payment.expect("a payment"))
    }

    pub async fn top_up_by_gateway(
        &self,
        amount_minor: i64,
        token: &str,
        key: &str,
    ) -> Result<wire::TopUpWalletResponse, Status> {
        let gateway = wire::GatewaySource {
            token: token.to_owned(),
        };
        let request = self.ask(wire::TopUpWalletRequest {
            amount: Some(euros(amount_minor)),
            source: Some(wire::top_up_wallet_request::Source::Gateway(gateway)),
            idempotency_key: key.to_owned(),
        });
        let answer = soon("a top-up", self.payments().top_up_wallet(request)).await?;
        Ok(answer.into_inner())
    }

    pub async fn payment(&self, id: &str) -> wire::Payment {
        let request = self.ask(wire::GetPaymentRequest {
            payment_id: id.to_owned(),
        });
        let answer = soon("a payment", self.payments().get_payment(request)).await;
        answer.expect("OK").into_inner().payment.expect("one")
    }

    pub async fn reservation(&self, id: &str) -> wire::Reservation {
        let request = self.ask(wire::GetReservationRequest {
            reservation_id: id.to_owned(),
        });
        let answer = soon(
            "a reservation",
            self.reservations().get_reservation(request),
        )
        .await;
        answer.expect("OK").into_inner().reservation.expect("one")
    }

    pub async fn cancel(
        &self,
        reservation: &str,
        key: &str,
    ) -> Result<wire::CancelReservationResponse, Status> {
        let request = self.ask(wire::CancelReservationRequest {
            reservation_id: reservation.to_owned(),
            seat_ids: Vec::new(),
            idempotency_key: key.to_owned(),
        });
        let answer = soon(
            "a cancellation",
            self.reservations().cancel_reservation(request),
        )
        .await;
        answer.map(tonic::Response::into_inner)
    }

    pub async fn balance(&self) -> i64 {
        let request = self.ask(wire::GetWalletRequest::default());
        let wallet = soon("a wallet", self.payments().get_wallet(request)).await;
        let wallet = wallet.expect("OK").into_inner().wallet.expect("a wallet");
        wallet.balance.expect("a balance").amount_minor
    }

    pub async fn seat_map(&self, performance: &str) -> Result<wire::GetSeatMapResponse, Status> {
        let request = self.ask(wire::GetSeatMapRequest {
            performance_id: performance.to_owned(),
        });
        let answer = soon("a seat map", self.catalog().get_seat_map(request)).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// What a join gave.
pub struct Ticket {
    pub token: String,
    pub place: wire::Place,
}

pub fn euros(amount_minor: i64) -> wire::Money {
    wire::Money {
        currency_code: "EUR".to_owned(),
        amount_minor,
    }
}

/// The reason in a refusal's `ErrorInfo`; empty without one.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(String::new, |info| info.reason)
}

fn is_for_later(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.get_details_retry_info().is_some()
}

/// One open `Watch`. Each message is checked against the rules that every
/// stream keeps.
pub struct Watching {
    stream: Streaming<wire::WatchResponse>,
    /// Epoch and revision of the last message.
    pub cursor: (u64, u64),
    /// The last position told, with its epoch.
    position: Option<(u64, u64)>,
}

impl Watching {
    /// The next message; none when the stream ended OK.
    pub async fn next(&mut self) -> Result<Option<wire::WatchResponse>, Status> {
        let message = soon("a message", pin!(self.stream.message())).await?;
        if let Some(message) = &message {
            let cursor = message.cursor.expect("a cursor");
            let cursor = (cursor.epoch, cursor.revision);
            assert!(cursor >= self.cursor, "cursors never decrease: {message:?}");
            self.cursor = cursor;
            assert!(message.as_of.is_some(), "{message:?}");
            self.check_position(message.event.as_ref());
        }
        Ok(message)
    }

    fn check_position(&mut self, event: Option<&Event>) {
        let position = match event {
            Some(Event::Snapshot(snapshot)) => snapshot.place.as_ref().and_then(|p| p.position),
            Some(Event::Position(told)) => Some(told.position),
            _ => None,
        };
        let Some(position) = position else { return };
        let epoch = self.cursor.0;
        if let Some((told_in, told)) = self.position {
            assert!(
                told_in != epoch || position <= told,
                "within an epoch a position never grows: {told}, then {position}"
            );
        }
        self.position = Some((epoch, position));
    }

    pub async fn event(&mut self) -> Event {
        let message = self.next().await.expect("no error");
        let event = message.expect("not over").event;
        event.expect("an event")
    }

    /// Reads on until an event is the one that is waited for.
    pub async fn until<T>(&mut self, what: &str, pick: impl Fn(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = pick(self.event().await) {
                    return found;
                }
            }
        };
        soon(what, found).await
    }

    pub async fn snapshot(&mut self) -> wire::Snapshot {
        match self.event().await {
            Event::Snapshot(snapshot) => snapshot,
            other => panic!("the first message is a snapshot, not {other:?}"),
        }
    }

    pub async fn activated(&mut self) -> wire::Activated {
        let pick = |event| match event {
            Event::Activated(activated) => Some(activated),
            Event::Ended(ended) => panic!("ended before its turn: {ended:?}"),
            _ => None,
        };
        self.until("the turn", pick).await
    }

    pub async fn ended(&mut self) -> wire::Ended {
        let pick = |event| match event {
            Event::Ended(ended) => Some(ended),
            _ => None,
        };
        let ended = self.until("the end", pick).await;
        self.over().await;
        ended
    }

    pub async fn room_changed(&mut self, state: wire::RoomState) -> wire::RoomChanged {
        let pick = |event| match event {
            Event::RoomChanged(changed) if changed.state() == state => Some(changed),
            _ => None,
        };
        self.until("a change of the room", pick).await
    }

    pub async fn drain(&mut self) -> wire::Drain {
        let pick = |event| match event {
            Event::Drain(drain) => Some(drain),
            _ => None,
        };
        let drain = self.until("a drain", pick).await;
        self.over().await;
        drain
    }

    /// The stream ends now, with status OK.
    pub async fn over(&mut self) {
        let last = self.next().await.expect("status OK");
        assert!(last.is_none(), "nothing after the last message: {last:?}");
    }
}
