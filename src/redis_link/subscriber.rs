//! A connection that only listens.
//!
//! The driver hands over what the server pushes without waiting, so the channel
//! between is bounded here: what does not fit is dropped, and [`Heard::Lost`]
//! tells so once there is room again. The end of the connection is
//! [`Heard::Ended`]; nothing is subscribed again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
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
    /// Messages were dropped: they came faster than they were taken.
    Lost,
    /// The server ended the connection, or a subscription on it.
    Ended,
}

/// One server's subscriptions.
pub struct Subscriber {
    connection: MultiplexedConnection,
    pushed: mpsc::Receiver<Heard>,
    lost: Arc<AtomicBool>,
    /// Channels belong to the server that has their slot.
    sharded: bool,
}

/// Names a server for as long as the topology stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerId(Address);

impl RedisClient {
    /// The server at which the channels of a tag are published.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`].
    pub async fn server_of(&self, tag: &str) -> Result<ServerId, LinkError> {
        Ok(ServerId(self.topology.address(slot_of(tag)).await?))
    }

    /// Connects a subscriber that holds at most `messages_max` messages.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`].
    pub async fn subscriber(
        &self,
        server: &ServerId,
        messages_max: usize,
    ) -> Result<Subscriber, LinkError> {
        let connected = self.listen(&server.0, messages_max).await;
        self.figures().connection(connected.is_ok());
        connected.map_err(|error| {
            self.look_again();
            LinkError::Unavailable(format!("{}: {error}", server.0))
        })
    }

    async fn listen(
        &self,
        address: &Address,
        messages_max: usize,
    ) -> redis::RedisResult<Subscriber> {
        let config = self.topology.config();
        let (sender, pushed) = mpsc::channel(messages_max);
        let lost = Arc::new(AtomicBool::new(false));
        let overflow = Arc::clone(&lost);
        let push = move |info: PushInfo| {
            if let Some(heard) = read(info)
                && sender.try_send(heard).is_err()
            {
                overflow.store(true, Ordering::SeqCst);
            }
            Ok::<(), redis::aio::SendError>(())
        };
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
            pushed,
            lost,
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

    /// Returns once everything published before is in the channel.
    ///
    /// # Errors
    /// [`LinkError`]; make another subscriber.
    pub async fn catch_up(&mut self) -> Result<(), LinkError> {
        let ping: Result<Value, _> = redis::cmd("PING").query_async(&mut self.connection).await;
        ping.map(drop)
            .map_err(|error| LinkError::Unavailable(error.to_string()))
    }

    /// The next thing heard. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        if self.lost.load(Ordering::SeqCst) && self.pushed.is_empty() {
            self.lost.store(false, Ordering::SeqCst);
            return Heard::Lost;
        }
        self.pushed.recv().await.unwrap_or(Heard::Ended)
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
        // Nobody here unsubscribes: the slot moved away.
        PushKind::Disconnection | PushKind::SUnsubscribe | PushKind::Unsubscribe => {
            Some(Heard::Ended)
        }
        _ => None,
    }
}
