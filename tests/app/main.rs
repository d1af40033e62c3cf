//! The shell around the engine, on a real port: what is served, what the
//! transport allows, and how it stops.

mod grpc;
mod harness;
mod http;
mod raw;
mod shutdown;
mod tls;
mod transport;
