//! Keeps this node's channels subscribed, and hands on what they bring.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bus::{BusEvent, BusMessage};
use crate::config::RedisConfig;
use crate::domain::ids::RoomId;
use crate::redis_link::subscriber::{Heard, Inbox, ServerId, Subscriber};
use crate::redis_link::{LinkError, RedisClient};
use crate::store::redis::{delta, keys};

use super::sender::publish;
use super::wire::{NODES_CHANNEL, NODES_TAG, Said, Wire};
use super::{Request, Shared};

/// Between looks at what should be subscribed and is not.
const LOOK_MS: u64 = 250;
/// Tags tried to find one whose channel lives on a given server.
const PROBE_TAGS_MAX: u32 = 1_000;

pub(super) struct Listener {
    client: RedisClient,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    inbox: Inbox,
    probe_interval: Duration,
    servers: HashMap<ServerId, Server>,
    /// Where each channel is subscribed.
    channels: HashMap<String, ServerId>,
    /// A channel was not subscribed for a while since all last were.
    has_gap: bool,
    connections: u64,
}

struct Server {
    /// Names this connection in the inbox.
    id: u64,
    subscriber: Subscriber,
    /// The tag of a channel that only this node has, and this server serves.
    probe_tag: String,
    heard_at: Instant,
    probed_at: Option<Instant>,
}

/// A channel that this node wants.
struct Wanted {
    tag: String,
    channel: String,
    room: Option<RoomId>,
}

impl Listener {
    pub(super) fn new(
        client: RedisClient,
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        config: &RedisConfig,
    ) -> Self {
        Self {
            client,
            shared,
            requests,
            inbox: Inbox::new(config.bus_messages_max),
            probe_interval: Duration::from_millis(config.probe_interval_ms),
            servers: HashMap::new(),
            channels: HashMap::new(),
            has_gap: false,
            connections: 0,
        }
    }

    /// Until the bus is dropped.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut look = interval(Duration::from_millis(LOOK_MS));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                (id, heard) = self.inbox.next() => self.hear(id, heard).await,
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => return,
                },
                () = shared.rooms_changed.notified() => self.subscribe_wanted().await,
                _ = look.tick() => {
                    self.subscribe_wanted().await;
                    self.probe_silent().await;
                }
            }
        }
    }

    /// What was published before the request is in the ring before the reader.
    async fn answer(&mut self, Request(answer): Request) {
        self.subscribe_missing().await;
        self.catch_up().await;
        while let Some((id, heard)) = self.inbox.try_next() {
            self.hear(id, heard).await;
        }
        // Who asked may have given up.
        let _ = answer.send(self.shared.ring.subscribe());
    }

    async fn hear(&mut self, id: u64, heard: Heard) {
        if let Some(server) = self.servers.values_mut().find(|server| server.id == id) {
            server.heard_at = Instant::now();
            server.probed_at = None;
        }
        match heard {
            Heard::Message { channel, payload } => self.hand_on(&channel, &payload),
            Heard::Lost => {
                self.tell_gap("overflow");
                // The news that a connection ended may be among what was lost.
                self.catch_up().await;
            }
            // Asked for, unless it counts as subscribed.
            Heard::Unsubscribed { channel } if !self.channels.contains_key(&channel) => {}
            Heard::Unsubscribed { .. } | Heard::Ended => {
                let ended = self.servers.iter().find(|(_, server)| server.id == id);
                if let Some(server) = ended.map(|(server, _)| server.clone()) {
                    self.lose(&server);
                }
            }
        }
    }

    fn hand_on(&self, channel: &str, payload: &[u8]) {
        self.shared.figures.bus_received();
        let event = if channel == NODES_CHANNEL {
            match Wire::decode(payload) {
                Some(wire) if wire.origin == self.shared.origin => return,
                Some(wire) => event_of(wire.said),
                None => BusEvent::Gap,
            }
        } else if let Some(room) = keys::room_of_channel(channel) {
            let text = std::str::from_utf8(payload).unwrap_or_default();
            match delta::decode(text) {
                Ok(delta) => BusEvent::Message(BusMessage::Room(room, delta)),
                Err(error) => {
                    tracing::warn!(room.id = %room, error = %error, "delta not understood");
                    BusEvent::RoomGap(room)
                }
            }
        } else {
            // A probe's echo: being heard is all it is for.
            return;
        };
        if matches!(event, BusEvent::Gap | BusEvent::RoomGap(_)) {
            self.shared.figures.bus_gap("unreadable");
        }
        self.shared.tell(event);
    }

    fn tell_gap(&self, reason: &'static str) {
        self.shared.figures.bus_gap(reason);
        self.shared.tell(BusEvent::Gap);
    }

    fn lose(&mut self, server: &ServerId) {
        tracing::warn!(server.address = %server, "subscription ended");
        self.servers.remove(server);
        self.channels
            .retain(|_, subscribed_at| subscribed_at != server);
        self.has_gap = true;
        self.client.look_again();
    }

    /// Everything that was pushed before is in the inbox afterwards.
    async fn catch_up(&mut self) {
        let mut gone = Vec::new();
        for (id, server) in &mut self.servers {
            if server.subscriber.catch_up().await.is_err() {
                gone.push(id.clone());
            }
        }
        for server in gone {
            self.lose(&server);
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let rooms: Vec<_> = self.shared.rooms().iter().cloned().collect();
        let rooms = rooms.into_iter().map(|room| Wanted {
            tag: room.to_string(),
            channel: keys::channel(&room),
            room: Some(room),
        });
        let nodes = Wanted {
            tag: NODES_TAG.to_owned(),
            channel: NODES_CHANNEL.to_owned(),
            room: None,
        };
        std::iter::once(nodes).chain(rooms).collect()
    }

    async fn subscribe_wanted(&mut self) {
        self.unsubscribe_unwanted().await;
        self.subscribe_missing().await;
    }

    /// Rooms that are followed no more.
    async fn unsubscribe_unwanted(&mut self) {
        let unwanted: Vec<_> = {
            let rooms = self.shared.rooms();
            let is_wanted = |channel: &str| {
                keys::room_of_channel(channel).is_none_or(|room| rooms.contains(&room))
            };
            let channels = self.channels.keys();
            channels.filter(|name| !is_wanted(name)).cloned().collect()
        };
        for channel in unwanted {
            let Some(server) = self.channels.remove(&channel) else {
                continue;
            };
            let Some(there) = self.servers.get_mut(&server) else {
                continue;
            };
            if let Err(error) = there.subscriber.unsubscribe(&channel).await {
                tracing::debug!(error = %error, "channel not given up");
                self.lose(&server);
            }
        }
    }

    /// Subscribes what is wanted and is not, or is subscribed at a server that
    /// does not have it any more.
    async fn subscribe_missing(&mut self) {
        let mut failed = HashSet::new();
        let mut is_whole = true;
        let mut new = Vec::new();
        for wanted in self.wanted() {
            let Ok(server) = self.client.server_of(&wanted.tag).await else {
                (is_whole, self.has_gap) = (false, true);
                continue;
            };
            match self.channels.get(&wanted.channel) {
                Some(subscribed_at) if *subscribed_at == server => continue,
                Some(_) => self.has_gap = true,
                None => {}
            }
            if failed.contains(&server) {
                continue;
            }
            match self.subscribe(&server, &wanted).await {
                Ok(()) => new.push(wanted.room),
                Err(error) => {
                    tracing::debug!(error = %error, "channel not subscribed yet");
                    (is_whole, self.has_gap) = (false, true);
                    failed.insert(server);
                }
            }
        }
        if !new.is_empty() {
            let used: HashSet<_> = self.channels.values().collect();
            self.servers.retain(|server, _| used.contains(server));
        }
        if self.has_gap && is_whole {
            self.has_gap = false;
            self.tell_gap("connected");
            return;
        }
        for room in new.into_iter().flatten() {
            self.shared.tell(BusEvent::RoomGap(room));
        }
    }

    async fn subscribe(&mut self, server: &ServerId, wanted: &Wanted) -> Result<(), LinkError> {
        if !self.servers.contains_key(server) {
            let made = self.connect(server).await?;
            self.servers.insert(server.clone(), made);
        }
        let Some(there) = self.servers.get_mut(server) else {
            return Ok(());
        };
        if let Err(error) = there.subscriber.subscribe(&wanted.channel).await {
            self.lose(server);
            return Err(error);
        }
        self.channels.insert(wanted.channel.clone(), server.clone());
        Ok(())
    }

    async fn connect(&mut self, server: &ServerId) -> Result<Server, LinkError> {
        self.connections += 1;
        let id = self.connections;
        let mut subscriber = self.client.subscriber(server, &self.inbox, id).await?;
        let probe_tag = self.probe_tag(server).await?;
        subscriber.subscribe(&probe_channel(&probe_tag)).await?;
        Ok(Server {
            id,
            subscriber,
            probe_tag,
            heard_at: Instant::now(),
            probed_at: None,
        })
    }

    async fn probe_tag(&self, server: &ServerId) -> Result<String, LinkError> {
        let origin = self.shared.origin;
        for attempt in 0..PROBE_TAGS_MAX {
            let tag = format!("probe-{origin:x}-{attempt}");
            if self.client.server_of(&tag).await? == *server {
                return Ok(tag);
            }
        }
        let why = format!("no channel of {server} was found");
        Err(LinkError::Unavailable(why))
    }

    /// Asks connections that said nothing for long for an echo; gives up those
    /// that were asked and still say nothing.
    async fn probe_silent(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        for (id, server) in &mut self.servers {
            match server.probed_at {
                _ if now - server.heard_at < self.probe_interval => {}
                Some(probed_at) if now - probed_at >= self.probe_interval => gone.push(id.clone()),
                Some(_) => {}
                None => {
                    server.probed_at = Some(now);
                    let channel = probe_channel(&server.probe_tag);
                    // What cannot be sent has no echo.
                    let _ = publish(&self.client, &server.probe_tag, &channel, "").await;
                }
            }
        }
        for server in gone {
            self.lose(&server);
        }
    }
}

fn probe_channel(tag: &str) -> String {
    format!("usher:{{{tag}}}")
}

fn event_of(said: Said) -> BusEvent {
    BusEvent::Message(match said {
        Said::Delta { room, delta } => BusMessage::Room(room, Arc::from(delta)),
        Said::Seats { performance } => BusMessage::Seats { performance },
        Said::CatalogChanged => BusMessage::CatalogChanged,
        Said::SoldOutTurned { concert, mark } => BusMessage::SoldOutTurned { concert, mark },
        Said::RoomChanged { room } => BusMessage::RoomChanged(room),
        Said::CampaignChanged { campaign } => BusMessage::CampaignChanged { campaign },
        Said::Lost => return BusEvent::Gap,
    })
}
