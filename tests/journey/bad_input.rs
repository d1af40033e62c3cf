//! Bad input, per RPC: the code, the reason, the field, and no effect.
//!
//! `fields` says how each RPC is asked with a value in each of its fields,
//! `crossed` asks them with what must never be taken, and `coverage` holds the
//! tables to the contract. The other modules have what depends on more than
//! one field, or on what was before.

use futures_util::future::BoxFuture;
use tonic::Status;

mod ask;
mod changes;
mod coupons;
mod coverage;
mod crossed;
mod fields;
mod garbage;
mod joins;
mod keys;
mod lists;
mod operators;
mod seats;
mod watch;
pub mod world;

/// The first message, or the refusal.
type Answer = BoxFuture<'static, Result<Vec<u8>, Status>>;
