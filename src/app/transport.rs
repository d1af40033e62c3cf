//! The transport: sockets, TLS and HTTP, below the service value.
//!
//! [`server`] accepts, counts, and hands each connection to one of the
//! [`cores`]; [`connection`] speaks HTTP with one peer, HTTP/2 by [`http2`].

mod connection;
pub mod cores;
mod first_bytes;
mod home;
mod http2;
mod limits;
mod open_files;
mod read_past;
pub(super) mod server;
mod stalled_write;
pub(super) mod tls;
mod unread;
