# k6, another load tool: streams and whole journeys by its scripts, and the same rate as ghz and usher-bench.
source .ci/lib.sh
# Versions that the module proxy keeps.
K6_VERSION=${K6_VERSION:-v1.8.1}
GHZ_VERSION=${GHZ_VERSION:-v0.93.0}
k6=$(go_tool k6 "$K6_VERSION" "go.k6.io/k6@$K6_VERSION")
ghz=$(go_tool ghz "$GHZ_VERSION" "github.com/bojand/ghz/cmd/ghz@$GHZ_VERSION")
cargo build --workspace --bins --locked
cargo run --quiet --locked --package usher-bench -- k6 --spawn --k6 "$k6" --scripts bench/k6
cargo run --quiet --locked --package usher-bench -- agree --spawn --k6 "$k6" --ghz "$ghz" --vus 100 --seconds 5
echo "k6: every check of its scripts holds; k6, ghz and usher-bench found the same rate" >>"$CI_SUMMARY"
