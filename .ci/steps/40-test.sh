source .ci/lib.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked 2>&1 | tee "$log" || status=$?
# What a transport must do holds for the other one too.
USHER_TEST_HTTP2=hyper cargo test --workspace --locked --test app 2>&1 | tee -a "$log" || status=$?
USHER_TEST_HTTP2=hyper cargo test --workspace --locked --test journey -- stream slow stop deadlines bad_input 2>&1 |
    tee -a "$log" || status=$?
grep -E '^test result:' "$log" >>"$CI_SUMMARY" || true
exit "$status"
