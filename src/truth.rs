//! Tools for truth.
pub mod failpoint;
