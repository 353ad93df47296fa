#!/bin/sh
# Makes an environment in build/lowest with the lowest versions that pyproject.toml allows of what
# it names, and runs tests in it.
#
#   scripts/lowest.sh [arguments for pytest]
set -eu
cd "$(dirname "$0")/.."

uv=uv
command -v uv >/dev/null 2>&1 || uv=$PWD/.venv/bin/uv
env=build/lowest
sum=$(cksum <pyproject.toml)
if [ "$(cat $env/sam2track 2>/dev/null)" != "$sum" ]; then
    echo "lowest: installing into $env; this may take some minutes"
    rm -rf $env
    $uv venv --quiet --python .venv/bin/python $env
    # trackeval asks for newer versions of others than it needs; it would hide what is lowest of them.
    echo 'trackeval ; sys_platform == "never"' >$env/without.txt
    SAM2_BUILD_CUDA=0 $uv pip install --quiet --python $env/bin/python --override $env/without.txt \
        --resolution lowest-direct --editable '.[export,stacks,microscopes]' --group dev
    $uv pip install --quiet --python $env/bin/python --no-deps 'trackeval>=1.3' tabulate
    echo "$sum" >$env/sam2track
fi
echo "lowest: what it holds beside the newest"
$uv pip list --python $env/bin/python --format freeze | sort >$env/held.txt
$uv pip list --python .venv/bin/python --format freeze | sort | comm -23 $env/held.txt - | sed 's/^/    /'
# No viewer and no Qt here; what is compared with the official predictor takes too long.
if [ $# = 0 ]; then
    set -- tests --ignore tests/napari --ignore tests/parity --ignore tests/docs --ignore tests/fuzz
fi
exec $env/bin/python -m pytest -q -p no:pytest-qt "$@"
