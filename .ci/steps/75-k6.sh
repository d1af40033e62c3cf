# k6, another load tool: streams and whole journeys by its scripts, and the same rate as ghz and usher-bench.
source .ci/lib.sh
# Versions that the module proxy keeps.
K6_VERSION=${K6_VERSION:-v1.8.1}
GHZ_VERSION=${GHZ_VERSION:-v0.93.0}
k6=$(go_tool k6 "$K6_VERSION" "go.k6.io/k6@$K6_VERSION")
ghz=$(go_tool ghz "$GHZ_VERSION" "github.com/bojand/ghz/cmd/ghz@$GHZ_VERSION")
cargo build --workspace --bins --locked
# Not by `cargo run`, which would compile the server again for this package alone.
bench=${CARGO_TARGET_DIR:-target}/debug/usher-bench
"$bench" k6 --spawn --k6 "$k6" --scripts bench/k6
# A machine that stands still for a second takes a fifth of what one tool counts: once of three times they agree.
agree() {
    "$bench" agree --spawn --k6 "$k6" --ghz "$ghz" --vus 100 --seconds 10
}
agree || agree || agree
echo "k6: every check of its scripts holds; k6, ghz and usher-bench found the same rate" >>"$CI_SUMMARY"
