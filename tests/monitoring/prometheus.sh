#!/bin/sh
# Sees to it that there are `prometheus` and `promtool` for the tests of rules and dashboard: those on the PATH, or Debian's,
# unpacked into PROMETHEUS_FOLDER (build/prometheus), because installing the package would start a server on this machine.
# Quick where there are both. Where they cannot be had, says so and does not fail: those tests are then skipped, and say so.
have() { command -v "$1" >/dev/null 2>&1; }

target=${PROMETHEUS_FOLDER:-${0%/*}/../../build/prometheus}
if { have prometheus && have promtool; } || { [ -x "$target/prometheus" ] && [ -x "$target/promtool" ]; }; then
    exit 0
fi
if ! have apt-get || ! have dpkg-deb; then
    echo "No prometheus with its promtool here: the tests that need them will be skipped. Debian has both as prometheus." >&2
    exit 0
fi
echo "Getting Debian's prometheus for the tests of rules and dashboard ..." >&2
folder=$(mktemp -d)
if ! { cd "$folder" && { [ "$(id -u)" != 0 ] || apt-get update -qq; } && apt-get download -qq prometheus \
        && dpkg-deb --extract prometheus_*.deb . && cd - && mkdir -p "$target" \
        && cp "$folder"/usr/bin/prometheus "$folder"/usr/bin/promtool "$target"; } >"$folder/log" 2>&1; then
    tail -n 3 "$folder/log" >&2
    echo "Debian's prometheus could not be had: the tests that need it will be skipped." >&2
fi
rm -rf "$folder"
