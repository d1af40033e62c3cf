//! Many users over few connections.
//!
//! Streams and calls have connections of their own: a server bounds the streams
//! of one connection, and calls queued behind open streams would wait for ever.

use std::net::SocketAddr;

use tonic::transport::{Channel, Endpoint};

use crate::error::BenchError;

/// Below the server's `transport.streams_per_connection_max` of 256.
const STREAMS_PER_CONNECTION: usize = 128;

pub struct Pool {
    calls: Vec<Channel>,
    streams: Vec<Channel>,
}

impl Pool {
    /// `streams`: how many may be open at once.
    pub async fn open(
        target: SocketAddr,
        connections: usize,
        streams: usize,
    ) -> Result<Self, BenchError> {
        let wanted = match streams {
            0 => 0,
            streams => connections.max(streams.div_ceil(STREAMS_PER_CONNECTION)),
        };
        Ok(Self {
            calls: connect(target, connections.max(1)).await?,
            streams: connect(target, wanted).await?,
        })
    }

    /// The connection for the calls of the `nth` user.
    pub fn calls(&self, nth: usize) -> Channel {
        self.calls[nth % self.calls.len()].clone()
    }

    /// The connection for the stream of the `nth` user.
    pub fn streams(&self, nth: usize) -> Channel {
        match self.streams.len() {
            0 => self.calls(nth),
            connections => self.streams[nth % connections].clone(),
        }
    }
}

/// Opened connections; each comes back by itself when it breaks.
pub async fn connect(target: SocketAddr, connections: usize) -> Result<Vec<Channel>, BenchError> {
    let endpoint = Endpoint::from_shared(format!("http://{target}"))
        .map_err(|source| BenchError::Connect { target, source })?
        .tcp_nodelay(true);
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        let connected = endpoint.connect().await;
        channels.push(connected.map_err(|source| BenchError::Connect { target, source })?);
    }
    Ok(channels)
}
