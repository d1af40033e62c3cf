//! From a change in a view to the streams that should say it.
//!
//! A stream is a slot in a [`Hub`]: no task, no channel, no timer of its own,
//! and no message, only the set of kinds that are due ([`due`]). What is due is
//! rendered from the *current* view when the transport can take it
//! ([`Subscription::poll_next`]), so a slow reader gets the newest state and
//! nothing important is ever overwritten.
//!
//! Slots are spread over shards by place; each shard is a mutex around its
//! slots and one timing wheel, and nothing is awaited under it. Time comes in
//! by [`Hub::advance`], in clamped steps: a jump of the host's clock neither
//! ends nor silences a stream.
//!
//! A delta costs what it names; only a change of the room itself, a snapshot and a
//! drain touch every stream of the room, the first to bring its next position
//! forward: that the room has changed its connections are told ([`Carrier`]), and
//! each stream sees it when it is asked. Positions come by pacing.

pub mod event;
pub mod limits;

mod calls;
mod due;
mod figures;
mod hub;
mod listen;
mod places;
mod render;
mod room;
mod shard;
mod slot;
mod subscription;
mod wheel;

#[cfg(test)]
mod tests;

pub use calls::Carrier;
pub use figures::PushDelay;
pub use hub::{Hub, HubCounts, OpenError, PassRequest, PassSigner, StreamPermit, StreamSpec};
pub use limits::HubLimits;
pub use places::Report;
pub use subscription::{StreamError, Subscription};
