//! One `Watch` stream: the hub's subscription, encoded as it is polled.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tonic::{Request, Status};

use crate::domain::ids::{Cursor, RoomId, UserId};
use crate::domain::policy::RoomPolicy;
use crate::engine::rooms::RoomHandle;
use crate::fanout::event::{Body, Event};
use crate::fanout::{PassRequest, PassSigner, StreamSpec, Subscription};
use crate::keys::live::LiveKeys;
use crate::keys::pass::PassClaims;
use crate::keys::place::PlaceClaims;
use crate::proto::v1 as wire;

use super::super::decode;
use super::super::edge::Edge;
use super::super::encode::event::{Of, event};
use super::super::encode::place::known_end;
use super::super::status::{EdgeError, Refusal};
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
        request: Request<wire::WatchRequest>,
    ) -> Result<WatchStream, Refusal> {
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
            user: user.clone(),
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
            user,
        })
    }
}

/// Events as messages. Dropping it closes the stream.
pub struct WatchStream {
    subscription: Subscription,
    edge: Arc<Edge>,
    room: Arc<RoomHandle>,
    user: UserId,
}

impl WatchStream {
    fn encode(&self, said: Event) -> wire::WatchResponse {
        let record = self.room.record();
        let token = match &said.body {
            Body::Snapshot(snapshot) if snapshot.is_merged => {
                Some(self.edge.keys.current().places.sign(&PlaceClaims {
                    room: self.room.id.clone(),
                    place: snapshot.place.place,
                    user: self.user.clone(),
                    issued_at: self.edge.now(),
                }))
            }
            _ => None,
        };
        event(&of(&self.room.id, &record.policy), said, token)
    }
}

fn of<'a>(room: &'a RoomId, policy: &'a RoomPolicy) -> Of<'a> {
    Of {
        room_id: room.as_str(),
        policy,
    }
}

impl Stream for WatchStream {
    type Item = Result<wire::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let said = match self.subscription.poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(said) => said,
        };
        Poll::Ready(said.map(|said| match said {
            Ok(event) => Ok(self.encode(event)),
            Err(error) => {
                let refusal = Refusal::from(EdgeError::from(error));
                Err(refusal.into_status(self.edge.entropy.fraction()))
            }
        }))
    }
}
