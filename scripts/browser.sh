#!/bin/sh
# Installs the browser in which the report is tested, as root on Debian; says so where it cannot.
# Without one those tests skip.
set -u
for name in chromium-headless-shell chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then
    echo "browser: installing chromium-headless-shell"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends chromium-headless-shell; } \
        >/dev/null 2>&1 && exit 0
fi
echo "browser: none is here; the tests of the report in a browser skip" >&2
