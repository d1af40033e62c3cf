//! What one HTTP/2 connection may ask of us, beside what is configured.

/// Streams that were reset before we answered and are not yet forgotten; more
/// of them end the connection (rapid reset).
pub(super) const PENDING_RESETS_MAX: usize = 20;
/// Streams that we had to reset for the peer's errors; more end the connection
/// (made-you-reset).
pub(super) const LOCAL_RESETS_MAX: usize = 256;
/// Requests are one small message: a stream needs no more in flight.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What one connection may have in flight over all its streams.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
pub(super) const FRAME_BYTES_MAX: u32 = 16 * 1024;
