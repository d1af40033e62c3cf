//! The wire contract, generated from `proto/usher/v1` by `build.rs`. Its documentation is in the `.proto` files.

/// The encoded `FileDescriptorSet` of the contract and its imports, as reflection serves it and ghz reads it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/usher.binpb"));

pub mod events;

/// Package `usher.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    rustdoc::all
)]
pub mod v1 {
    tonic::include_proto!("usher.v1");
}
