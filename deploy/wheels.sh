# Shared by the scripts of this folder (sourced, never run): fetching pinned wheels with pip, and saying what went wrong in one sentence.
#
# pip is used for what it does well (indexes, proxies, mirrors, resumed downloads, hashes); nothing is ever installed into the Python it
# belongs to.

# shellcheck shell=bash

PYTHON=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    shift
    local hint
    for hint in "$@"; do say "  $hint"; done
    exit 1
}

need_python() {
    command -v "$PYTHON" >/dev/null || fail "$PYTHON was not found" \
        "install Python 3 with pip (Debian, Ubuntu: apt-get install python3 python3-pip), or set PYTHON"
    "$PYTHON" -m pip --version >/dev/null 2>&1 || fail "$PYTHON has no pip" \
        "install it (Debian, Ubuntu: apt-get install python3-pip; elsewhere: $PYTHON -m ensurepip --user)"
}

# need_space FOLDER MIB WHAT
need_space() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] || fail "$3 needs about $2 MiB while it is unpacked, but $1 has $free MiB free" "free some space, or move the checkout"
}

# fetch_wheels REQUIREMENTS FOLDER: downloads the wheels for this processor, whatever version $PYTHON has; pip checks the pinned hashes.
fetch_wheels() {
    local requirements=$1 folder=$2 machine minor log platforms=()
    machine=$(uname -m)
    case $machine in
        x86_64 | aarch64) ;;
        *) fail "no libtorch wheel exists for $machine" "Firn runs on x86_64 and aarch64" ;;
    esac
    platforms+=(--platform "manylinux2014_$machine")
    for minor in $(seq 17 28); do platforms+=(--platform "manylinux_2_${minor}_$machine"); done
    mkdir -p "$folder"
    log=$folder/pip.log
    if ! "$PYTHON" -m pip download --no-deps --require-hashes --only-binary=:all: --python-version 3.11 "${platforms[@]}" \
        --disable-pip-version-check --dest "$folder" --requirement "$requirements" --log "$log" >&2; then
        explain_pip_failure "$log"
    fi
}

explain_pip_failure() {
    local log=$1 hint="see the lines of pip above"
    if grep -q 'No space left on device' "$log"; then
        fail "the disk is full" "pip also needs space in its cache and in ${TMPDIR:-/tmp}" "$hint"
    elif grep -qE 'HASHES|hashes are required|DO NOT MATCH' "$log"; then
        fail "a downloaded wheel is not the one whose hash is pinned in deploy/" "a proxy or mirror altered it, or it was cut short: try again" "$hint"
    elif grep -qE 'NewConnectionError|ConnectTimeout|ReadTimeout|Max retries|name resolution|ProxyError|Connection (refused|aborted|reset)|SSLError' "$log"; then
        fail "the package index cannot be reached" "check the network, or name a mirror: PIP_INDEX_URL=… or a folder of wheels: PIP_FIND_LINKS=… PIP_NO_INDEX=1" "$hint"
    elif grep -q 'No matching distribution' "$log"; then
        fail "the package index does not offer the pinned version" "a mirror may be incomplete: check PIP_INDEX_URL and PIP_FIND_LINKS" "$hint"
    fi
    fail "pip could not download the wheels" "$hint"
}

# alone FOLDER: one run of a script at a time in a folder; a second waits for the first.
alone() {
    mkdir -p "$1"
    if command -v flock >/dev/null; then
        exec 9>"$1/.lock"
        if ! flock --nonblock 9; then
            say "another run is at work in $1, waiting for it …"
            flock 9
        fi
    fi
}
