# ghz, a load tool of its own, on the published descriptor set: every answer is as its configuration says.
source .ci/lib.sh
# A version that the module proxy keeps; newer ones read the same configurations.
GHZ_VERSION=${GHZ_VERSION:-v0.93.0}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/usher-tools/ghz-$GHZ_VERSION
if [ ! -x "$tools/ghz" ]; then
    have go golang-go
    echo "installing ghz $GHZ_VERSION into $tools"
    GOBIN="$tools" go install "github.com/bojand/ghz/cmd/ghz@$GHZ_VERSION"
fi
cargo build --workspace --bins --locked
cargo run --quiet --locked --package usher-bench -- ghz --spawn --ghz "$tools/ghz" --configs bench/ghz
echo "ghz: Join, GetPlace, ListConcerts and HoldSeats answered as their configurations say" >>"$CI_SUMMARY"
