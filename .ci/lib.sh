# Sourced by the steps.
set -euo pipefail

# found COMMAND: on the path, or among PostgreSQL's programs, which Debian keeps
# off it.
found() {
    command -v "$1" >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1
}

# have COMMAND DEBIAN_PACKAGE: makes sure that COMMAND exists. Installs the
# package where that is possible without asking anyone; else says what to do.
have() {
    found "$1" && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $2 for '$1'"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends "$2" >/dev/null ||
            { apt-get update >/dev/null && apt-get install -y --no-install-recommends "$2" >/dev/null; }
        found "$1" && return 0
    fi
    echo "the tests need '$1' (Debian package: $2), and it could not be installed from here" >&2
    return 1
}
