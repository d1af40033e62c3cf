source .ci/lib.sh
cargo clippy --workspace --all-targets --locked -- -D warnings
