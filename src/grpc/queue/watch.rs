//! One `Watch` stream: the hub's subscription, encoded as it is polled.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use prost::Message as _;
use tonic::{Request, Status};

use crate::domain::ids::Cursor;
use crate::engine::rooms::RoomHandle;
use crate::fanout::event::{Body, Event};
use crate::fanout::{Carrier, PassRequest, PassSigner, StreamSpec, Subscription};
use crate::keys::live::LiveKeys;
use crate::keys::pass::PassClaims;
use crate::keys::place::PlaceClaims;
use crate::proto::v1 as wire;
use crate::view::PlaceReport;

use super::super::edge::Edge;
use super::super::encode::event::event;
use super::super::encode::place::known_end;
use super::super::limits::seats::StreamSeat;
use super::super::status::{EdgeError, Refusal};
use super::super::{decode, encode};
use super::Queue;

impl PassSigner for LiveKeys {
    fn pass(&self, request: &PassRequest) -> Arc<str> {
        self.current().passes.issue(&PassClaims::from(request))
    }
}

impl Queue {
    /// Restores the place if the store lost it, then opens a stream of it.
    pub(super) async fn open_watch(
        &self,
        mut request: Request<wire::WatchRequest>,
    ) -> Result<WatchStream, Refusal> {
        let seat = StreamSeat::of(request.extensions_mut());
        let (user, message, claims) = self.open_place(request, |message| &message.place_token)?;
        let span = |field, span: Option<prost_types::Duration>| {
            span.map(|span| decode::duration_ms(field, span))
                .transpose()
        };
        let min_update_interval_ms = span("min_update_interval", message.min_update_interval)?;
        let max_duration_ms = span("max_duration", message.max_duration)?;
        let edge = &self.edge;
        let room = edge.engine.rooms().get(&claims.room)?;
        let taken = edge.engine.place(&claims.room, &user, claims.place).await?;
        let subscription = edge.hub.open(StreamSpec {
            room: claims.room,
            place: taken.place.key,
            user,
            resume: message.resume.map(|resume| Cursor {
                epoch: resume.epoch,
                revision: resume.revision,
            }),
            min_update_interval_ms: min_update_interval_ms.filter(|ms| *ms > 0),
            max_duration_ms,
            end_on_activation: message.end_on_activation.unwrap_or(false),
            known_end: known_end(taken.place.standing),
            is_merged: taken.place.key != claims.place,
        })?;
        Ok(WatchStream {
            subscription,
            edge: Arc::clone(edge),
            room,
            _seat: seat,
        })
    }
}

/// Events as messages. Dropping it closes the stream.
pub struct WatchStream {
    subscription: Subscription,
    edge: Arc<Edge>,
    room: Arc<RoomHandle>,
    _seat: Option<Arc<StreamSeat>>,
}

impl WatchStream {
    fn encode(&self, said: Event) -> wire::WatchResponse {
        let token = match &said.body {
            Body::Snapshot(snapshot) if snapshot.is_merged => {
                Some(self.edge.keys.current().places.sign(&PlaceClaims {
                    room: self.room.id.clone(),
                    place: snapshot.place.place,
                    user: self.subscription.user(),
                    issued_at: self.edge.now(),
                }))
            }
            _ => None,
        };
        let place = |report: &PlaceReport, as_of| {
            let record = self.room.record();
            encode::place::place(self.room.id.as_str(), &record.policy, report, as_of)
        };
        event(said, place, token)
    }
}

impl WatchStream {
    /// See [`Subscription::carry`].
    pub fn carry(&self, carrier: Arc<dyn Carrier>, key: u32) {
        self.subscription.carry(carrier, key);
    }

    /// The next message, and whether there is more: if not, it wakes whoever
    /// asked, as if nothing had been due. `None`: the stream ends OK.
    pub(in crate::grpc) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(wire::WatchResponse, bool), Status>>> {
        let said = match self.subscription.poll_said(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(said) => said,
        };
        Poll::Ready(said.map(|said| match said {
            Ok((event, has_more)) => Ok((self.encode(event), has_more)),
            Err(error) => {
                let refusal = Refusal::from(EdgeError::from(error));
                Err(refusal.into_status(self.edge.entropy.fraction()))
            }
        }))
    }

    /// As [`WatchStream::poll_response`], framed for the wire.
    pub fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Bytes, bool), Status>>> {
        self.poll_response(cx).map(|said| {
            said.map(|said| said.map(|(message, has_more)| (frame(&message), has_more)))
        })
    }
}

/// A message as gRPC frames it: not compressed, its length, itself.
fn frame(message: &wire::WatchResponse) -> Bytes {
    const HEAD_BYTES: usize = 5;
    let message_bytes = message.encoded_len();
    // A `Vec` takes single bytes, of which most of a message is written, cheaper
    // than a `BytesMut`.
    let mut frame = Vec::with_capacity(HEAD_BYTES + message_bytes);
    frame.put_u8(0);
    // A message of ours is some hundred bytes long.
    frame.put_u32(message_bytes as u32);
    message.encode_raw(&mut frame);
    frame.into()
}
