#!/bin/sh
# Makes an environment for the viewer's tests beside .venv, with another Qt, napari or Python.
#
#   scripts/viewer_env.sh FOLDER REQUIREMENT...
#
# BASE=...  the interpreter to build on, in place of that of .venv
#
# Does nothing where it is there already; remove the folder to make it anew.
set -eu
cd "$(dirname "$0")/.."
folder=$1
shift
base=${BASE:-.venv/bin/python}
sum=$( (pwd; cat pyproject.toml; echo "$base" "$@") | cksum | tr -d ' ')
if [ "$(cat "$folder/sam2track" 2>/dev/null)" = "$sum" ]; then exit 0; fi
uv=uv
uv pip install --help 2>/dev/null | grep -q -e '--group' || uv=.venv/bin/uv
export SAM2_BUILD_CUDA=0
if [ -n "${TORCH:-}" ]; then export UV_TORCH_BACKEND="$TORCH"; fi
rm -rf "$folder"
$uv venv --quiet --python "$base" "$folder"
$uv pip install --quiet --python "$folder/bin/python" --editable '.[export,napari,stacks]' \
    --group dev "$@"
echo "$sum" >"$folder/sam2track"
