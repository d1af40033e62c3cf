//! Generates the wire types and the descriptor set from `proto/`. No `protoc` is needed on the machine.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

const PROTO_ROOT: &str = "proto";
const PACKAGE_DIR: &str = "usher/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={PROTO_ROOT}");

    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(PROTO_ROOT).join(PACKAGE_DIR))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    // The order of a directory is not defined, that of the descriptor set should be.
    files.sort();

    // Imports are part of the set: reflection, grpcurl and ghz need a closed one.
    let descriptors = protox::compile(&files, [PROTO_ROOT])?;
    let out_dir = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out_dir).join("usher.binpb"),
        descriptors.encode_to_vec(),
    )?;

    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}
