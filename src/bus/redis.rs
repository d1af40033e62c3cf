//! The bus of several nodes, on Redis.
//!
//! ```text
//! publish ─→ this node's ring, at once
//!         └→ sender ─PUBLISH→ the nodes' channel ─→ listener of every other node ─→ its ring
//! a script's delta ─(S)PUBLISH→ the room's channel ─→ listener of every node ─→ its ring
//! ```
//!
//! One [`Listener`] per node holds one connection (in a cluster one per master,
//! since a channel lives where its slot is) with the nodes' channel and those
//! of the rooms that the node follows. All subscriptions read its ring, which
//! is bounded.
//!
//! Redis delivers at most once and tells nobody what it dropped. So:
//! - a connection that ended is made anew, and [`BusEvent::Gap`] follows once
//!   its channels are subscribed again;
//! - a channel that was not subscribed before brings [`BusEvent::RoomGap`]:
//!   what was published meanwhile is not known;
//! - a connection that was silent for `redis.probe_interval_ms` must echo a
//!   probe in as long a time, or is made anew: it may be that of a master which
//!   is none any more;
//! - whoever could not send says so with its next message, and all others take
//!   that for a gap.

mod listener;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use crate::config::RedisConfig;
use crate::domain::ids::RoomId;
use crate::redis_link::{Figures, RedisClient};

use super::{BusError, BusEvent, BusMessage, BusSubscription, EventBus};
use listener::Listener;
use sender::{Outgoing, Sender};
use wire::Wire;

/// Subscriptions that are being made.
const REQUESTS_MAX: usize = 16;

/// An [`EventBus`] between nodes. Cheap to clone.
#[derive(Clone)]
pub struct RedisBus {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    requests: mpsc::Sender<Request>,
}

struct Shared {
    /// Tells this node's messages from those of others.
    origin: u64,
    ring: broadcast::Sender<BusEvent>,
    rooms: Mutex<BTreeSet<RoomId>>,
    rooms_changed: Notify,
    /// A message could not be sent; the next one says so.
    has_lost: AtomicBool,
    figures: Figures,
}

/// Wants a place in the ring after all that was published before.
struct Request(oneshot::Sender<broadcast::Receiver<BusEvent>>);

impl RedisBus {
    /// The bus, and what runs for as long as it is there. `origin` is this
    /// node's alone.
    pub fn new(
        client: &RedisClient,
        config: &RedisConfig,
        origin: u64,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (outgoing, to_send) = mpsc::channel(config.bus_messages_max);
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let shared = Arc::new(Shared {
            origin,
            ring: broadcast::Sender::new(config.bus_messages_max),
            rooms: Mutex::default(),
            rooms_changed: Notify::new(),
            has_lost: AtomicBool::new(false),
            figures: client.figures().clone(),
        });
        let sender = Sender::new(client.clone(), Arc::clone(&shared), to_send);
        let listener = Listener::new(client.clone(), Arc::clone(&shared), asked, config);
        let bus = Self {
            shared,
            outgoing,
            requests,
        };
        let run = async {
            tokio::join!(sender.run(), listener.run());
        };
        (bus, run)
    }

    /// Returns once everything published here before has been sent, or lost.
    pub(super) async fn flush(&self) -> Result<(), BusError> {
        let (flushed, is_flushed) = oneshot::channel();
        let asked = self.outgoing.send(Outgoing::Flush(flushed)).await;
        asked.map_err(|_| BusError::Unavailable)?;
        is_flushed.await.map_err(|_| BusError::Unavailable)
    }
}

#[async_trait]
impl EventBus for RedisBus {
    fn publish(&self, message: BusMessage) {
        let text = Wire::of(self.shared.origin, &message).encode();
        self.shared.tell(BusEvent::Message(message));
        if self.outgoing.try_send(Outgoing::Publish(text)).is_err() {
            self.shared.figures.bus_sent(false);
            self.shared.has_lost.store(true, Ordering::SeqCst);
        }
    }

    fn follow(&self, room: &RoomId) {
        let mut rooms = self.shared.rooms();
        if rooms.insert(room.clone()) {
            self.shared.rooms_changed.notify_one();
        }
    }

    fn unfollow(&self, room: &RoomId) {
        if self.shared.rooms().remove(room) {
            self.shared.rooms_changed.notify_one();
        }
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        self.flush().await?;
        let (answer, ring) = oneshot::channel();
        let asked = self.requests.send(Request(answer)).await;
        asked.map_err(|_| BusError::Unavailable)?;
        let ring = ring.await.map_err(|_| BusError::Unavailable)?;
        let figures = self.shared.figures.clone();
        Ok(Box::new(RingReader { ring, figures }))
    }
}

impl Shared {
    fn tell(&self, event: BusEvent) {
        // An error says that nobody listens, and then nobody misses anything.
        let _ = self.ring.send(event);
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, BTreeSet<RoomId>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct RingReader {
    ring: broadcast::Receiver<BusEvent>,
    figures: Figures,
}

#[async_trait]
impl BusSubscription for RingReader {
    async fn next(&mut self) -> Option<BusEvent> {
        match self.ring.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => {
                self.figures.bus_gap("overflow");
                Some(BusEvent::Gap)
            }
            Err(RecvError::Closed) => None,
        }
    }
}
