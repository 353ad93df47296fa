#!/bin/sh
# Makes .venv and installs the package into it, editable; does nothing where that is done.
#
#   scripts/setup.sh run   the package alone, for `make demo`
#   scripts/setup.sh dev   with what tests and checks need, and the viewer once it has tests
#
# PYTHON=...  the interpreter to build on
# TORCH=cpu   torch without CUDA libraries (any value of uv's --torch-backend)
set -eu
cd "$(dirname "$0")/.."

die() {
    echo "setup: $*" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    found=$("${PYTHON:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
    die "Python 3.11 or later is needed (found: $found): as root, apt-get install python3.11 python3.11-venv (on newer releases: python3 python3-venv), or set PYTHON to another interpreter"
}

# An older uv cannot install dependency groups.
usable_uv() {
    "$1" pip install --help 2>/dev/null | grep -q -e '--group'
}

kind=${1:-dev}
extras=
case $kind in
    run) group= ;;
    dev)
        group="--group dev"
        if [ -d tests/napari ]; then extras='[all]'; fi
        ;;
    *) die "'$kind' is neither run nor dev" ;;
esac

# What the environment was built from; one that was made for tests serves the demo too.
sum=$( (pwd; cat pyproject.toml) | cksum | tr -d ' ')
if new_enough .venv/bin/python && [ -f .venv/sam2track ]; then
    case "$kind $(cat .venv/sam2track)" in
        "run "*" $sum" | "dev dev$extras $sum") exit 0 ;;
    esac
fi

echo "setup: installing into .venv; this may take some minutes the first time"
began=$(date +%s)
new_enough .venv/bin/python || rm -rf .venv
if usable_uv uv; then
    uv=uv
    if [ ! -d .venv ]; then
        python=$(find_python)
        uv venv --quiet --python "$python" .venv
    fi
else
    uv=.venv/bin/uv
    if [ ! -d .venv ]; then
        python=$(find_python)
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            die "this Python has no venv: as root, apt-get install python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        "$python" -m venv .venv
    fi
    if ! usable_uv $uv; then
        # An environment that uv made has no pip.
        .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
        .venv/bin/python -m pip install --quiet --upgrade uv
    fi
fi

export SAM2_BUILD_CUDA=0
if [ -n "${TORCH:-}" ]; then export UV_TORCH_BACKEND="$TORCH"; fi
quiet=
if [ ! -t 2 ]; then quiet=--quiet; fi
# shellcheck disable=SC2086  # $quiet and $group are none, one or two words
$uv pip install $quiet --python .venv/bin/python --editable ".$extras" $group || {
    [ -z "${TORCH:-}" ] || die "TORCH=$TORCH takes torch from an index of its own, which may not be reachable from here; without TORCH it comes from where the other packages do"
    die "the packages could not be installed"
}
echo "$kind$extras $sum" >.venv/sam2track
echo "setup: .venv is ready ($(($(date +%s) - began)) s)"
