//! Sends what this node says, one message at a time and in order. A message
//! that fails is lost: the listeners are told of the gap when Redis is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use crate::redis_link::RedisClient;

use super::Shared;
use super::wire::{NODES_CHANNEL, NODES_TAG, Said, Wire};

pub(super) enum Outgoing {
    Publish(String),
    /// Answered when everything before it was tried.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Sender {
    client: RedisClient,
    shared: Arc<Shared>,
    to_send: mpsc::Receiver<Outgoing>,
}

impl Sender {
    pub(super) fn new(
        client: RedisClient,
        shared: Arc<Shared>,
        to_send: mpsc::Receiver<Outgoing>,
    ) -> Self {
        Self {
            client,
            shared,
            to_send,
        }
    }

    /// Until the bus is dropped.
    pub(super) async fn run(mut self) {
        while let Some(outgoing) = self.to_send.recv().await {
            match outgoing {
                Outgoing::Publish(text) => self.send_after_what_was_lost(&text).await,
                // Who asked may have given up.
                Outgoing::Flush(flushed) => drop(flushed.send(())),
            }
        }
    }

    async fn send_after_what_was_lost(&self, text: &str) {
        let has_lost = &self.shared.has_lost;
        let lost = Wire {
            origin: self.shared.origin,
            said: Said::Lost,
        };
        if has_lost.swap(false, Ordering::SeqCst) && !self.send(&lost.encode()).await {
            has_lost.store(true, Ordering::SeqCst);
        }
        let was_sent = self.send(text).await;
        self.shared.figures.bus_sent(was_sent);
        if !was_sent {
            has_lost.store(true, Ordering::SeqCst);
        }
    }

    async fn send(&self, text: &str) -> bool {
        let sent = publish(&self.client, NODES_TAG, NODES_CHANNEL, text).await;
        if let Err(error) = &sent {
            tracing::debug!(error = %error, "message between nodes not sent");
        }
        sent.is_ok()
    }
}

/// `PUBLISH`, or `SPUBLISH` in a cluster: the other kind goes to every server.
pub(super) async fn publish(
    client: &RedisClient,
    tag: &str,
    channel: &str,
    text: &str,
) -> Result<(), crate::redis_link::LinkError> {
    let mut cmd = redis::cmd(match client.is_cluster() {
        true => "SPUBLISH",
        false => "PUBLISH",
    });
    cmd.arg(channel).arg(text);
    let _heard_by: i64 = client.query(tag, &cmd).await?;
    Ok(())
}
