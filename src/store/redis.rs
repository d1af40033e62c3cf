//! The lines of all rooms in Redis, shared by any number of nodes.

pub mod delta;
pub mod keys;
