# The web client: types, unit tests, and that the committed bundle is what its sources give.
source .ci/lib.sh
cd clients/web
have node nodejs
have npm npm
if [ "$(node -p 'Number(process.versions.node.split(".")[0])')" -lt 20 ]; then
    echo "the tests of the web client need Node 20 or newer: https://nodejs.org" >&2
    exit 1
fi
npm ci --ignore-scripts --no-audit --no-fund
npm run --silent generate
npm run --silent check
npm test --silent
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npm run --silent build "$fresh"
if ! diff -rq dist "$fresh"; then
    echo "clients/web/dist is not what its sources give: npm run generate && npm run build there, and commit" >&2
    exit 1
fi
echo "web client: types, unit tests and bundle ok" >>"$CI_SUMMARY"
