//! One open stream, as the transport holds it.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::event::{Body, Event};
use super::hub::{PassRequest, StreamPermit, StreamSpec};
use super::render::Polled;

/// Why a stream ends with a status other than OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("nothing was taken from the stream for too long")]
    SlowReader,
}

/// Dropping it closes the stream.
pub struct Subscription {
    permit: StreamPermit,
    spec: StreamSpec,
    shard: usize,
    key: usize,
}

impl Subscription {
    pub(super) fn new(permit: StreamPermit, spec: StreamSpec, shard: usize, key: usize) -> Self {
        Self {
            permit,
            spec,
            shard,
            key,
        }
    }

    /// The next event, made from the state as it is now. Poll it only when the
    /// transport can take one. `Ready(None)`: the stream ends OK.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, StreamError>>> {
        loop {
            let hub = Arc::clone(&self.permit.0);
            let polled =
                hub.shard(self.shard)
                    .poll(self.key, cx.waker(), hub.clock.as_ref(), &hub.limits);
            match polled {
                Polled::Nothing => return Poll::Pending,
                Polled::Say(event) => return Poll::Ready(Some(Ok(self.with_pass(event)))),
                Polled::SlowReader => return Poll::Ready(Some(Err(StreamError::SlowReader))),
                Polled::Over => return Poll::Ready(None),
                Polled::Moved(survivor) => {
                    self.spec.place = survivor;
                    self.spec.is_merged = true;
                    self.spec.known_end = None;
                    let owed = hub.shard(self.shard).owed_drain(self.key);
                    let (shard, key) = hub.register(&self.spec, owed);
                    hub.unregister(self.shard, self.key);
                    (self.shard, self.key) = (shard, key);
                }
            }
        }
    }

    /// Signing takes longer than anything else here, and needs no lock.
    fn with_pass(&self, mut event: Event) -> Event {
        if let Body::Activated(turn) = &mut event.body
            && let (Some(claimed_at), Some(expire_time)) = (turn.claimed_at, turn.expire_time)
        {
            turn.pass = Some(self.permit.0.signer.pass(&PassRequest {
                room: self.spec.room.clone(),
                place: self.spec.place,
                user: self.spec.user.clone(),
                activation_id: turn.activation_id,
                claimed_at,
                expire_time,
            }));
        }
        event
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.permit.0.unregister(self.shard, self.key);
    }
}
