#!/bin/sh
# Runs a command with what the viewer's tests need: system libraries and a display.
#
#   scripts/viewer_libs.sh COMMAND...
#
# What is missing is installed where that is possible (root on Debian or Ubuntu). Where it is not,
# the names are printed and SAM2TRACK_NO_VIEWER tells the tests why the viewer's cannot run.
set -u
cd "$(dirname "$0")/.." || exit 1
[ -d tests/napari ] || exec "$@"

PATH=$PATH:/usr/sbin:/sbin

missing() {
    known=$(ldconfig -p 2>/dev/null)
    while read -r library package; do
        case $known in
            *"$library "*) ;;
            *) printf '%s ' "$package" ;;
        esac
    done <<END
libEGL.so.1 libegl1
libGL.so.1 libgl1
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xinerama.so.0 libxcb-xinerama0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
END
    command -v xvfb-run >/dev/null || printf 'xvfb '
    command -v xauth >/dev/null || printf 'xauth '
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then
    echo "viewer: installing $packages"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word a package
    { apt-get update && apt-get install --yes --no-install-recommends $packages; } >/dev/null
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    SAM2TRACK_NO_VIEWER="missing system packages: ${packages% }"
    export SAM2TRACK_NO_VIEWER
    echo "viewer: $SAM2TRACK_NO_VIEWER" >&2
    exec "$@"
fi
# Else the display begins anew whenever its last window is gone, and refuses who comes meanwhile:
# a worker of the tests then aborts as it makes its first window.
exec xvfb-run --auto-servernum --server-args "-screen 0 1280x1024x24 -noreset" "$@"
