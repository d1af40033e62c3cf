# What the build itself needs: Rust and a C compiler.
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
