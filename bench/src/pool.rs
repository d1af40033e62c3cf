//! Many users over few connections.
//!
//! Streams and calls have connections of their own: a server bounds the streams
//! of one connection, and calls queued behind open streams would wait for ever.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::error::BenchError;

/// What a process may open besides the sockets of its users.
const OTHER_FILES: usize = 200;
/// Connections that are made at once.
const CONNECTING: usize = 64;

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

    /// One connection for each user, calls and streams alike, as far as open
    /// files go: each beyond that shares one.
    pub async fn of_their_own(target: SocketAddr, users: usize) -> Result<Self, BenchError> {
        let count = users.clamp(1, open_files_max().saturating_sub(OTHER_FILES).max(1));
        let mut calls = Vec::with_capacity(count);
        let mut connecting = JoinSet::new();
        for nth in 0..count {
            connecting.spawn(connect_from(target, source(target, nth)));
            if connecting.len() >= CONNECTING
                && let Some(connected) = connecting.join_next().await
            {
                calls.push(connected.map_err(BenchError::failed)??);
            }
        }
        while let Some(connected) = connecting.join_next().await {
            calls.push(connected.map_err(BenchError::failed)??);
        }
        let streams = Vec::new();
        Ok(Self { calls, streams })
    }

    /// Connections for calls.
    pub fn connections(&self) -> usize {
        self.calls.len()
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

/// An address has ports for some 28,000 connections; loopback has many
/// addresses, so neither many users nor many runs behind each other use them up.
fn source(target: SocketAddr, nth: usize) -> Option<IpAddr> {
    let octet = |value: usize| u8::try_from(value % 250 + 1).unwrap_or(1);
    match target.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let ip = Ipv4Addr::new(127, 0, octet(nth / 250), octet(nth));
            Some(ip.into())
        }
        _ => None,
    }
}

async fn connect_from(target: SocketAddr, source: Option<IpAddr>) -> Result<Channel, BenchError> {
    let connected = endpoint(target)?.local_address(source).connect().await;
    connected.map_err(|source| BenchError::Connect { target, source })
}

fn endpoint(target: SocketAddr) -> Result<Endpoint, BenchError> {
    let endpoint = Endpoint::from_shared(format!("http://{target}"));
    let endpoint = endpoint.map_err(|source| BenchError::Connect { target, source })?;
    Ok(endpoint.tcp_nodelay(true))
}

/// What this process may have open at once; 1,024 where nobody says.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(1_024)
}

/// Opened connections; each comes back by itself when it breaks.
pub async fn connect(target: SocketAddr, connections: usize) -> Result<Vec<Channel>, BenchError> {
    let endpoint = endpoint(target)?;
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        let connected = endpoint.connect().await;
        channels.push(connected.map_err(|source| BenchError::Connect { target, source })?);
    }
    Ok(channels)
}
