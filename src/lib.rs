//! Usher: a virtual waiting room and ticket sale that streams every position.
//!
//! Data goes one way, and a module imports only what stands before it:
//! `domain` → `store`, `bus` → `view` → `engine` → `fanout` → `grpc` → `app`.
//! `ARCHITECTURE.md` follows one position event through the files.
#![forbid(unsafe_code)]

/// Servers of tests, which integration tests include too, name it so.
#[cfg(test)]
extern crate self as usher;

pub mod app;
pub mod breaker;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod entropy;
pub mod fanout;
pub mod gateway;
pub mod grpc;
pub mod keys;
pub mod metrics;
pub mod proto;
pub mod redis_link;
pub mod seed;
pub mod sim;
pub mod store;
pub mod truth;
pub mod view;
