//! The transport: sockets, TLS and HTTP, below the service value.
//!
//! [`server`] accepts and counts, [`connection`] speaks HTTP with one peer.

mod connection;
mod first_bytes;
mod open_files;
pub(super) mod server;
mod stalled_write;
pub(super) mod tls;
mod unread;
