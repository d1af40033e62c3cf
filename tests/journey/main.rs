//! The product as its clients meet it: a whole node on port 0, real clients.

mod bad_input;
mod harness;
mod idempotency;
mod people;
mod sale;
mod stream;
mod unimplemented;
