# What the build and its tests need: Rust, a C compiler, servers to test against.
source .ci/lib.sh
if ! command -v cargo >/dev/null 2>&1; then
    echo "the tests need Rust 1.94 or newer: https://rustup.rs" >&2
    exit 1
fi
cargo --version
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
have cc build-essential
# Tests start their own; the one that a package may have started is not needed.
had_redis=$(command -v redis-server || true)
have redis-server redis-server
have redis-cli redis-tools
have redis-sentinel redis-sentinel
if [ -z "$had_redis" ]; then
    for service in redis-server redis-sentinel; do
        service "$service" stop >/dev/null 2>&1 || true
    done
fi
