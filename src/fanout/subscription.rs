//! One open stream, as the transport holds it.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::domain::ids::UserId;

use super::calls::Carrier;
use super::event::{Body, Event};
use super::hub::{PassRequest, StreamPermit};
use super::render::Polled;

/// Why a stream ends with a status other than OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("nothing was taken from the stream for too long")]
    SlowReader,
}

/// Dropping it closes the stream. All that it knows is in its slot: it is held
/// once per stream.
pub struct Subscription {
    permit: StreamPermit,
    shard: usize,
    key: usize,
}

impl Subscription {
    pub(super) fn new(permit: StreamPermit, shard: usize, key: usize) -> Self {
        Self { permit, shard, key }
    }

    /// Whose place it shows.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.permit.0.shard(self.shard).user_of(self.key)
    }

    /// From now on `carrier` is called with `key`, not whoever polls. The stream
    /// must be asked once more: it may have called before.
    pub fn carry(&self, carrier: Arc<dyn Carrier>, key: u32) {
        let hub = &self.permit.0;
        hub.shard(self.shard).carry(self.key, carrier, key);
    }

    /// The next event, made from the state as it is now. Poll it only when the
    /// transport can take one. `Ready(None)`: the stream ends OK.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, StreamError>>> {
        let said = self.poll_said(cx);
        said.map(|said| said.map(|said| said.map(|(event, _)| event)))
    }

    /// As [`Subscription::poll_next`], and whether there is more: if not, the
    /// stream wakes whoever asked as if it had answered `Pending`.
    pub fn poll_said(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Event, bool), StreamError>>> {
        let hub = &self.permit.0;
        loop {
            let (polled, has_more) =
                hub.shard(self.shard)
                    .poll(self.key, cx.waker(), hub.clock.as_ref(), &hub.limits);
            match polled {
                Polled::Nothing => return Poll::Pending,
                Polled::Say(event) => {
                    return Poll::Ready(Some(Ok((self.with_pass(event), has_more))));
                }
                Polled::SlowReader => return Poll::Ready(Some(Err(StreamError::SlowReader))),
                Polled::Over => return Poll::Ready(None),
                Polled::Moved(survivor) => {
                    let ((spec, owed), carried) = {
                        let shard = hub.shard(self.shard);
                        (shard.moved(self.key, survivor), shard.carried(self.key))
                    };
                    let (shard, key) = hub.register(&spec, owed);
                    hub.unregister(self.shard, self.key);
                    (self.shard, self.key) = (shard, key);
                    if let Some((carrier, key)) = carried {
                        self.carry(carrier, key);
                    }
                }
            }
        }
    }

    /// Signing takes longer than anything else here, and needs no lock.
    fn with_pass(&self, mut event: Event) -> Event {
        if let Body::Activated(turn) = &mut event.body
            && let (Some(claimed_at), Some(expire_time)) = (turn.claimed_at, turn.expire_time)
        {
            let hub = &self.permit.0;
            let (room, place, user) = hub.shard(self.shard).seat_of(self.key);
            turn.pass = Some(hub.signer.pass(&PassRequest {
                room,
                place,
                user,
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
