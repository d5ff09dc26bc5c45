#!/bin/sh
# Installs the Debian packages of tools/debian-packages.txt that are missing, if it may (root with apt-get), and
# says otherwise which they are. Never fails: what needs a missing package says so itself.
set -u
cd "$(dirname "$0")/.." || exit 0
command -v dpkg-query >/dev/null || exit 0

missing=""
for package in $(sed -e 's/#.*//' tools/debian-packages.txt); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "packages: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "packages: apt-get update failed; trying with the package lists at hand"
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        echo "packages: some of these could not be installed; going on without them"
else
    echo "packages: missing$missing: install them (apt-get install$missing), or some tests are skipped"
fi
exit 0
