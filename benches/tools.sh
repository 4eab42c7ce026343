#!/bin/sh
# Provides the programs that the benchmark table compares with. Missing ones come from Debian.
# Packages that would start a service are unpacked into the directory given, and the others are
# installed.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
PATH="$folder/usr/bin:$folder/usr/sbin:$PATH"

root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    command -v "$1" >/dev/null
}

# The package lists of a new machine are empty.
with_lists() {
    "$@" || { root apt-get update && "$@"; }
}

unpacked() {
    has "$2" && return
    cd "$folder"
    with_lists apt-get download "$1"
    dpkg-deb --extract "$1"_*.deb .
    rm "$1"_*.deb
}

installed() {
    has "$2" || with_lists root apt-get install --yes --no-install-recommends "$1"
}

unpacked nginx nginx
unpacked prometheus-pushgateway prometheus-pushgateway
installed wrk wrk
installed curl curl
installed python3 python3

for program in nginx prometheus-pushgateway wrk curl python3; do
    printf '%s: ' "$program"
    command -v "$program"
done
