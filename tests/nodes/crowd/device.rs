//! A tab or a phone of someone: calls and streams that are recorded, each on
//! the next node after a failure.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::StatusExt as _;
use usher::domain::ids::{Cursor, PlaceKey};
use usher::proto::v1 as wire;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::truth::history::{Op, QueueOp, StreamEnd, TurnSeen};
use wire::watch_response::Event;

use super::Shared;
use crate::client::{Caller, is_unknown, reason};
use crate::record;

/// A node that says nothing for so long is left.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// A stream too: eight heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// Of a refused join.
const RETRY_MS: std::ops::RangeInclusive<u128> = 2_000..=10_000;
/// When a node that stops has its streams come back: half a second, and spread
/// over `stream.reconnect_spread_ms`.
const RECONNECT_MS: std::ops::RangeInclusive<u128> = 500..=5_500;

pub struct Device {
    shared: Arc<Shared>,
    caller: Caller,
    /// The node it talks to; one further after each failure.
    door: AtomicUsize,
}

/// What one needs to come back.
#[derive(Clone)]
pub struct Ticket {
    pub token: String,
    pub place: PlaceKey,
    pub resume: Option<Cursor>,
}

impl Device {
    pub fn new(shared: Arc<Shared>, user: &str, door: usize) -> Self {
        Self {
            shared,
            caller: Caller::new(user),
            door: AtomicUsize::new(door),
        }
    }

    fn queue(&self) -> QueueServiceClient<Channel> {
        self.door().1
    }

    fn door(&self) -> (String, QueueServiceClient<Channel>) {
        let (name, channel) = self.shared.door(self.door.load(Ordering::Relaxed));
        (name, QueueServiceClient::new(channel))
    }

    /// An answer within the time-out; else, and after a failure, the next node
    /// is asked.
    async fn heard<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Status> {
        let silent = || Err(Status::cancelled("no answer"));
        let answer = timeout(CALL_TIMEOUT, call).await;
        let answer = answer.unwrap_or_else(|_| silent());
        if answer.is_err() {
            self.door.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    pub async fn join(&self) -> Ticket {
        let request = wire::JoinRequest {
            room_id: self.shared.room.as_str().to_owned(),
            ..wire::JoinRequest::default()
        };
        let call = async || {
            let request = self.caller.ask(request.clone());
            let answer = self.heard(self.queue().join(request)).await;
            let is_missing = |status: &Status| status.code() == Code::NotFound;
            match answer {
                // Made a moment ago on another node.
                Err(status) if is_missing(&status) => Err(Status::unavailable("not yet known")),
                Err(status) => {
                    asks_for_patience(&status);
                    Err(status)
                }
                joined => joined,
            }
        };
        let joined = self.shared.world.until_known(
            &self.caller.user,
            call,
            |reply| record::place(reply.place.as_ref().expect("a place")),
            |answer| {
                Op::Queue(QueueOp::Join {
                    room: self.shared.room.clone(),
                    presented: None,
                    code: None,
                    answer,
                })
            },
        );
        let joined = joined.await.expect("joined");
        let place = joined.place.expect("a place");
        Ticket {
            token: joined.place_token,
            place: record::place(&place).place,
            resume: None,
        }
    }

    pub async fn claim(&self, ticket: &Ticket) {
        let request = wire::ClaimRequest {
            place_token: ticket.token.clone(),
        };
        let seen = |reply: &wire::ClaimResponse| TurnSeen {
            activation_id: activation_of(&reply.pass),
            expire_ms: record::ms(reply.expire_time.expect("a time")),
        };
        let call = async || {
            let request = self.caller.ask(request.clone());
            self.heard(self.queue().claim(request)).await
        };
        let claimed = self
            .shared
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Queue(QueueOp::Claim {
                    room: self.shared.room.clone(),
                    place: ticket.place,
                    answer,
                })
            });
        claimed.await.expect("claimed");
    }

    pub async fn leave(&self, ticket: &Ticket) {
        let request = wire::LeaveRequest {
            place_token: ticket.token.clone(),
        };
        let call = async || {
            let request = self.caller.ask(request.clone());
            self.heard(self.queue().leave(request)).await
        };
        let left = self
            .shared
            .world
            .until_known(&self.caller.user, call, drop_reply, |answer| {
                Op::Queue(QueueOp::Leave {
                    room: self.shared.room.clone(),
                    place: ticket.place,
                    answer,
                })
            });
        left.await.expect("left");
    }

    /// How the place stands, and when to ask again.
    pub async fn look(&self, ticket: &Ticket) -> (wire::Place, Duration) {
        let request = wire::GetPlaceRequest {
            place_token: ticket.token.clone(),
        };
        let call = async || {
            let request = self.caller.ask(request.clone());
            self.heard(self.queue().get_place(request)).await
        };
        let seen =
            |reply: &wire::GetPlaceResponse| record::place(reply.place.as_ref().expect("a place"));
        let looked = self
            .shared
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Queue(QueueOp::GetPlace {
                    room: self.shared.room.clone(),
                    place: ticket.place,
                    answer,
                })
            });
        let reply = looked.await.expect("a place");
        let after = reply.poll_after.expect("a pace");
        let after = Duration::try_from(after).expect("forward");
        (reply.place.expect("a place"), after)
    }

    /// Watches, again after every end, until an event is the one waited for.
    pub async fn watch_until<T>(
        &self,
        ticket: &mut Ticket,
        mut pick: impl FnMut(&Event, Cursor) -> Option<T>,
    ) -> T {
        let world = &self.shared.world;
        let mut attempt = 0;
        loop {
            let stream = world.next_stream();
            let (door, mut queue) = self.door();
            let opened = QueueOp::StreamOpened {
                stream,
                room: self.shared.room.clone(),
                place: ticket.place,
                resume: ticket.resume,
            };
            let opened = Op::Queue(opened);
            world.record_at(&door, &self.caller.user, world.now_ms(), opened);
            let request = self.caller.ask(wire::WatchRequest {
                place_token: ticket.token.clone(),
                resume: ticket.resume.map(|cursor| wire::Cursor {
                    epoch: cursor.epoch,
                    revision: cursor.revision,
                }),
                ..wire::WatchRequest::default()
            });
            let end = match self.heard(queue.watch(request)).await {
                Err(status) => self.stream_end(&status),
                Ok(reply) => {
                    attempt = 0;
                    let messages = reply.into_inner();
                    match self.read(stream, messages, ticket, &mut pick).await {
                        Ok(found) => {
                            let end = StreamEnd::Dropped;
                            self.note(QueueOp::StreamClosed { stream, end });
                            return found;
                        }
                        Err(end) => {
                            self.door.fetch_add(1, Ordering::Relaxed);
                            end
                        }
                    }
                }
            };
            self.note(QueueOp::StreamClosed { stream, end });
            self.shared.back_off(attempt).await;
            attempt += 1;
        }
    }

    async fn read<T>(
        &self,
        stream: u64,
        mut messages: Streaming<wire::WatchResponse>,
        ticket: &mut Ticket,
        pick: &mut impl FnMut(&Event, Cursor) -> Option<T>,
    ) -> Result<T, StreamEnd> {
        loop {
            let message = match timeout(SILENCE_MAX, messages.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Err(StreamEnd::Ok),
                Ok(Err(status)) => return Err(self.stream_end(&status)),
                Err(_) => return Err(StreamEnd::Broken),
            };
            let cursor = record::cursor(message.cursor);
            ticket.resume = ticket.resume.max(Some(cursor));
            let event = message.event.expect("an event");
            self.note(QueueOp::StreamMessage {
                stream,
                cursor,
                as_of_ms: record::ms(message.as_of.expect("a time")),
                message: record::message(&event),
            });
            if let Event::Drain(drain) = &event {
                is_told_when(drain);
            }
            if let Event::Snapshot(snapshot) = &event {
                self.shared.told.fetch_add(1, Ordering::Relaxed);
                // A merged place goes on as the user's other one.
                if let Some(token) = &snapshot.place_token {
                    ticket.token.clone_from(token);
                }
                let place = snapshot.place.as_ref().expect("a place");
                ticket.place = record::place(place).place;
            }
            if let Some(found) = pick(&event, cursor) {
                return Ok(found);
            }
        }
    }

    fn stream_end(&self, status: &Status) -> StreamEnd {
        if is_unknown(status) {
            return StreamEnd::Broken;
        }
        let reason = reason(status);
        assert!(
            !matches!(reason.as_str(), "Unauthenticated" | "TOKEN_USER_MISMATCH"),
            "{} is not known any more",
            self.caller.user
        );
        StreamEnd::Status(reason)
    }

    fn note(&self, op: QueueOp) {
        let world = &self.shared.world;
        world.record(&self.caller.user, world.now_ms(), Op::Queue(op));
    }
}

fn drop_reply<T>(_reply: &T) {}

/// Decision 14: who cannot be taken now is told when to come back.
fn asks_for_patience(status: &Status) {
    if status.code() != Code::Unavailable || reason(status) != "DEGRADED" {
        return;
    }
    let retry = status.get_details_retry_info();
    let delay = retry.and_then(|retry| retry.retry_delay);
    assert!(
        delay.is_some_and(|delay| RETRY_MS.contains(&delay.as_millis())),
        "{status:?}"
    );
}

/// Rule 6: who is sent away by a stop is told when to come back.
fn is_told_when(drain: &wire::Drain) {
    if drain.reason() != wire::DrainReason::Shutdown {
        return;
    }
    let after = drain.reconnect_after.expect("when to come back");
    let after = Duration::try_from(after).expect("forward");
    assert!(RECONNECT_MS.contains(&after.as_millis()), "{after:?}");
}

/// The `jti` of a pass, unverified: clients may read what they hold.
fn activation_of(pass: &str) -> usher::domain::ids::ActivationId {
    use base64::Engine as _;
    let claims = pass.split('.').nth(1).expect("claims");
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims);
    let claims: serde_json::Value = serde_json::from_slice(&claims.expect("base64")).expect("JSON");
    record::activation(claims["jti"].as_str().expect("a jti"))
}
