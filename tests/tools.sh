#!/bin/sh
# Makes the programs available that tests need: those of the machine, else from Debian and npm, into the folder named
# as far as they can do without being installed.
set -eu
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
PATH="$folder/usr/bin:$PATH"

root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    for program; do command -v "$program" >/dev/null || return 1; done
}

# The package lists of a new machine are empty.
with_lists() {
    "$@" || { root apt-get update && "$@"; }
}

# A package, and the programs wanted of it. Installing it would start a service, on a port that people use.
unpacked() {
    package=$1
    shift
    has "$@" && return
    cd "$folder"
    with_lists apt-get download "$package"
    dpkg-deb --extract "$package"_*.deb .
    rm "$package"_*.deb
}
unpacked prometheus prometheus promtool
unpacked prometheus-alertmanager prometheus-alertmanager amtool
# Debian's Alertmanager reads these at this place only.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ]; then
    root mkdir -p "$templates"
    root cp "$folder$templates"/*.tmpl "$templates/"
fi

# A browser needs what comes with its installation.
has chromium || with_lists root apt-get install --yes --no-install-recommends chromium
has valgrind || with_lists root apt-get install --yes --no-install-recommends valgrind
has node npm || with_lists root apt-get install --yes --no-install-recommends nodejs npm

browser="$folder/browser"
if ! cmp -s "$here/browser/package-lock.json" "$browser/node_modules/.taken"; then
    mkdir -p "$browser"
    cp "$here/browser/package.json" "$here/browser/package-lock.json" "$browser"
    (cd "$browser" && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$here/browser/package-lock.json" "$browser/node_modules/.taken"
fi

for program in prometheus promtool prometheus-alertmanager amtool chromium node valgrind; do
    "$program" --version
done
