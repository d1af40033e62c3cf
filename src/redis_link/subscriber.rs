//! A connection that only listens.
//!
//! The driver hands over what the server pushes without waiting, so the
//! [`Inbox`] between is bounded here: what does not fit is dropped, and
//! [`Heard::Lost`] tells so once the rest was taken. The end of a connection is
//! [`Heard::Ended`]; nothing is subscribed again by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::slots::Address;
use super::{LinkError, RedisClient, master, slot_of};

/// What a subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Message {
        channel: String,
        payload: Vec<u8>,
    },
    /// The server brings nothing more of this channel: it was asked, or the
    /// channel's slot moved away.
    Unsubscribed {
        channel: String,
    },
    /// Messages were dropped: they came faster than they were taken.
    Lost,
    /// The server ended the connection.
    Ended,
}

/// Where subscribers put what they hear, each with its number.
pub struct Inbox {
    sender: mpsc::Sender<(u64, Heard)>,
    heard: mpsc::Receiver<(u64, Heard)>,
    has_lost: Arc<AtomicBool>,
}

impl Inbox {
    /// # Panics
    /// When `messages_max` is 0.
    #[must_use]
    pub fn new(messages_max: usize) -> Self {
        let (sender, heard) = mpsc::channel(messages_max);
        Self {
            sender,
            heard,
            has_lost: Arc::default(),
        }
    }

    /// The next thing heard. Cancel-safe.
    pub async fn next(&mut self) -> (u64, Heard) {
        match self.try_next() {
            Some(heard) => heard,
            // The inbox holds a sender itself: it never ends.
            None => self.heard.recv().await.unwrap_or((0, Heard::Lost)),
        }
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<(u64, Heard)> {
        if let Ok(heard) = self.heard.try_recv() {
            return Some(heard);
        }
        let has_lost = self.has_lost.swap(false, Ordering::SeqCst);
        has_lost.then_some((0, Heard::Lost))
    }

    fn pusher(
        &self,
        id: u64,
    ) -> impl Fn(PushInfo) -> Result<(), SendError> + Send + Sync + 'static {
        let (sender, has_lost) = (self.sender.clone(), Arc::clone(&self.has_lost));
        move |info| {
            if let Some(heard) = read(info)
                && sender.try_send((id, heard)).is_err()
            {
                has_lost.store(true, Ordering::SeqCst);
            }
            Ok(())
        }
    }
}

/// One server's subscriptions.
pub struct Subscriber {
    connection: MultiplexedConnection,
    /// Channels belong to the server that has their slot.
    sharded: bool,
}

/// Names a server for as long as the topology stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerId(Address);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl RedisClient {
    /// The server at which the channels of a tag are published.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`].
    pub async fn server_of(&self, tag: &str) -> Result<ServerId, LinkError> {
        Ok(ServerId(self.topology.address(slot_of(tag)).await?))
    }

    /// Connects a subscriber that puts what it hears into `inbox` as `id`.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`].
    pub async fn subscriber(
        &self,
        server: &ServerId,
        inbox: &Inbox,
        id: u64,
    ) -> Result<Subscriber, LinkError> {
        let connected = self.listen(&server.0, inbox.pusher(id)).await;
        self.figures().connection(connected.is_ok());
        connected.map_err(|error| {
            self.look_again();
            LinkError::Unavailable(format!("{}: {error}", server.0))
        })
    }

    async fn listen(
        &self,
        address: &Address,
        push: impl AsyncPushSender,
    ) -> redis::RedisResult<Subscriber> {
        let config = self.topology.config();
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(config.connect_timeout_ms)))
            .set_response_timeout(Some(Duration::from_millis(config.response_timeout_ms)))
            .set_push_sender(push);
        let client = self.topology.target().client(address)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await?;
        if !self.is_cluster() {
            // A demoted master would be listened to for ever, in silence.
            master::expect_master(&mut connection).await?;
        }
        Ok(Subscriber {
            connection,
            sharded: self.is_cluster(),
        })
    }
}

impl Subscriber {
    /// Returns once everything published on the channel from now on is heard.
    ///
    /// # Errors
    /// [`LinkError`]; make another subscriber.
    pub async fn subscribe(&mut self, channel: &str) -> Result<(), LinkError> {
        let answer = match self.sharded {
            true => {
                let mut cmd = redis::cmd("SSUBSCRIBE");
                cmd.arg(channel);
                cmd.query_async::<Value>(&mut self.connection)
                    .await
                    .map(drop)
            }
            false => self.connection.subscribe(channel).await,
        };
        answer.map_err(|error| LinkError::Unavailable(error.to_string()))
    }

    /// Brings nothing more of the channel, and says so.
    ///
    /// # Errors
    /// [`LinkError`]; make another subscriber.
    pub async fn unsubscribe(&mut self, channel: &str) -> Result<(), LinkError> {
        let answer = match self.sharded {
            true => {
                let mut cmd = redis::cmd("SUNSUBSCRIBE");
                cmd.arg(channel);
                cmd.query_async::<Value>(&mut self.connection)
                    .await
                    .map(drop)
            }
            false => self.connection.unsubscribe(channel).await,
        };
        answer.map_err(|error| LinkError::Unavailable(error.to_string()))
    }

    /// Returns once everything published before is in the channel.
    ///
    /// # Errors
    /// [`LinkError`]; make another subscriber.
    pub async fn catch_up(&mut self) -> Result<(), LinkError> {
        let ping: Result<Value, _> = redis::cmd("PING").query_async(&mut self.connection).await;
        ping.map(drop)
            .map_err(|error| LinkError::Unavailable(error.to_string()))
    }
}

fn read(info: PushInfo) -> Option<Heard> {
    match info.kind {
        PushKind::Message | PushKind::SMessage => {
            let mut data = info.data.into_iter();
            match (data.next()?, data.next()?) {
                (Value::BulkString(channel), Value::BulkString(payload)) => Some(Heard::Message {
                    channel: String::from_utf8(channel).ok()?,
                    payload,
                }),
                _ => None,
            }
        }
        PushKind::SUnsubscribe | PushKind::Unsubscribe => match info.data.into_iter().next() {
            Some(Value::BulkString(channel)) => Some(Heard::Unsubscribed {
                channel: String::from_utf8(channel).ok()?,
            }),
            _ => Some(Heard::Ended),
        },
        PushKind::Disconnection => Some(Heard::Ended),
        _ => None,
    }
}
