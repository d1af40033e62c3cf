//! The edge: the only place, with `app`, that knows gRPC.
//!
//! A request passes [`auth`] (who calls), [`limits`] (how often), the table of
//! [`auth`] again (may they), and a handler, which is decode → call → encode:
//! [`decode`] parses once and everything inside is trusted, [`encode`] writes
//! what is read outside, and [`status`] is the one file that makes a
//! `tonic::Status`.

pub mod admin;
pub mod auth;
pub mod catalog;
pub mod coupon;
pub mod decode;
pub mod edge;
pub mod encode;
pub mod handover;
pub mod limits;
pub mod payment;
pub mod queue;
pub mod reservation;
mod stall;
pub mod status;
pub mod unread;
