#!/bin/sh
# Sees to it that there is a Chromium for the tests of pages; a font for Chinese comes with it. Quick where there is one.
# Where it cannot be had, says so and does not fail: those tests are then skipped, and say so too.
have() { command -v "$1" >/dev/null 2>&1; }

if (have chromium || have chromium-browser || have google-chrome) && have chromedriver; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "No Chromium with its chromedriver here: the browser tests will be skipped. Debian has both as chromium and chromium-driver." >&2
    exit 0
fi
echo "Installing Chromium for the browser tests ..." >&2
log=$(mktemp)
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium chromium-driver fonts-wqy-microhei; } >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "Chromium could not be installed: the browser tests will be skipped." >&2
fi
rm -f "$log"
