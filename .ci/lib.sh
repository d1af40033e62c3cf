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

# go_tool NAME VERSION MODULE: says where the program is, built from the module
# proxy into a cache if it is not there yet.
go_tool() {
    local tools=${XDG_CACHE_HOME:-$HOME/.cache}/usher-tools/$1-$2
    if [ ! -x "$tools/$1" ]; then
        have go golang-go >&2
        echo "building $1 $2 into $tools" >&2
        GOBIN="$tools" go install "$3" >&2
    fi
    echo "$tools/$1"
}
