# Sourced by the steps.
set -euo pipefail

# have COMMAND DEBIAN_PACKAGE: makes sure that COMMAND exists. Installs the
# package where that is possible without asking anyone; else says what to do.
have() {
    command -v "$1" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $2 for '$1'"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends "$2" >/dev/null ||
            { apt-get update >/dev/null && apt-get install -y --no-install-recommends "$2" >/dev/null; }
        command -v "$1" >/dev/null 2>&1 && return 0
    fi
    echo "the tests need '$1' (Debian package: $2), and it could not be installed from here" >&2
    return 1
}
