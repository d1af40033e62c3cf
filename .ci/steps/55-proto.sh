# The contract: Buf's STANDARD and COMMENTS rules, and its format. Buf came with the web client's packages.
source .ci/lib.sh
buf=clients/web/node_modules/.bin/buf
"$buf" lint
"$buf" format --diff --exit-code
echo "contract: lint and format ok" >>"$CI_SUMMARY"
