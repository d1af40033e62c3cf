# ghz, a load tool of its own, on the published descriptor set: every answer is as its configuration says.
source .ci/lib.sh
# A version that the module proxy keeps; newer ones read the same configurations.
GHZ_VERSION=${GHZ_VERSION:-v0.93.0}
ghz=$(go_tool ghz "$GHZ_VERSION" "github.com/bojand/ghz/cmd/ghz@$GHZ_VERSION")
cargo build --workspace --bins --locked
# Not by `cargo run`, which would compile the server again for this package alone.
bench=${CARGO_TARGET_DIR:-target}/debug/usher-bench
"$bench" ghz --spawn --ghz "$ghz" --configs bench/ghz
echo "ghz: every unary RPC answered as its configuration says" >>"$CI_SUMMARY"
