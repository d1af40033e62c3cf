//! A client for a million streams: one thread, HTTP/2 by hand, nothing
//! allocated per stream.
//!
//! A server's own client library costs the driver as much as the server costs
//! the machine. This one knows what a load needs: cleartext, calls of one
//! message, replies that come in small frames. [`Client`] has the sockets,
//! [`connection`] one peer's frames, [`frame`] and [`headers`] the bytes,
//! [`message`] reads just enough of a reply to say which kind it is.
//!
//! It keeps the peer's limits (streams, windows), answers PING and SETTINGS,
//! and gives windows back long before they are used up. It speaks for the user
//! that each call names in `x-user-id` (development mode), or proves with a token.

pub mod client;
pub mod connection;
pub mod frame;
pub mod headers;
pub mod message;

pub use client::{Client, Line};
pub use connection::{End, Hear};
pub use headers::Method;
