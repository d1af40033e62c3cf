# The page in headless Chromium on the real binary, from the line to the ticket. USHER_SCREENSHOTS=DIR keeps pictures.
source .ci/lib.sh
have chromium chromium
cargo build --locked --bin usher
binary=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/usher
pictures=()
if [ -n "${USHER_SCREENSHOTS:-}" ]; then
    mkdir -p "$USHER_SCREENSHOTS"
    pictures=(--screenshots "$(cd "$USHER_SCREENSHOTS" && pwd)")
fi
cd clients/web
npm run --silent browser -- --binary "$binary" --chromium "$(command -v chromium)" "${pictures[@]}"
echo "browser: the journey from the line to the ticket ok" >>"$CI_SUMMARY"
