//! The server on a real port: what is served, whom it believes, what the
//! transport allows, and how it stops.

mod call;
#[path = "../../src/keys/catalogue.rs"]
mod catalogue;
mod frames;
mod grpc;
mod harness;
mod house;
mod http;
mod messages;
mod metadata;
mod passes;
#[path = "../servers/postgres.rs"]
mod postgres;
mod provider;
mod raw;
mod rotation;
mod shutdown;
mod slow;
mod standby;
mod steering;
mod streams;
mod tls;
mod tokens;
mod transport;
mod whole;
