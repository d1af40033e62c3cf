source .ci/lib.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked 2>&1 | tee "$log" || status=$?
grep -E '^test result:' "$log" >>"$CI_SUMMARY" || true
exit "$status"
