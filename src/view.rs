//! What a node knows of the rooms it serves, without asking anyone; and of the
//! [`catalog`].
//!
//! A [`RoomView`] is a local replica of one room: a snapshot, then deltas in
//! the order of their revisions. [`Views`] holds one per room, is read by many
//! threads, and is written by one [`follower::Follower`], which subscribes
//! before it reads, and reads again on every hole.
//!
//! Invariants:
//! - a view's cursor never decreases, and a delta is applied only to the
//!   revision just before it;
//! - `position = order − departed orders below it`, exact as of the cursor: the
//!   absent are counted, the departed are not;
//! - between the opening of a DRAW and the end of its remap the room is shown
//!   SCHEDULED, as of the cursor before: nobody is told a position that is not
//!   theirs, and the first one told has a larger cursor;
//! - a wait is estimated only from what this view has seen without a hole.

pub mod catalog;
mod ends;
pub mod follower;
mod lane;
mod report;
mod room;
mod views;
mod waits;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use ends::RECENT_ENDS_MAX;
pub use lane::{DrawReady, DrawRemap};
pub use report::{PlaceReport, PlaceState, WaitRange};
pub use room::{Applied, Changes, PreparedSnapshot, RoomView};
pub use views::{ViewCell, ViewListener, Views};
