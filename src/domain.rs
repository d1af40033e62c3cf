//! The pure core: no I/O, no clock, no randomness, no async.
//!
//! It is the embedded store's engine and the model against which every other
//! adapter is tested.

pub mod access;
pub mod delta;
pub mod draw;
pub mod estimate;
pub mod ids;
pub mod pacing;
pub mod place;
pub mod policy;
pub mod rank;
pub mod room;
pub mod sale;
pub mod time;
pub mod trace;
