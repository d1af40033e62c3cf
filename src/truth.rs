//! Tools for truth: ways to break Usher on purpose, and ways to prove that
//! nothing broke.
//!
//! - [`failpoint`] stops a process between two steps of one use case.
//! - [`proxy`] stands between two processes and spoils their network.
//! - [`history`] is what clients saw, as JSON Lines.
//! - [`checkers`] read a history and name each broken invariant.
//! - [`planted`] are faults put into a clean history; every one must be found.
//!
//! A checker reports only what no correct execution could have shown: a call
//! whose outcome is unknown may have happened, at any time since.

pub mod checkers;
pub mod cli;
pub mod failpoint;
pub mod history;
pub mod planted;
pub mod proxy;
