#!/bin/sh
# Makes prometheus and promtool available: those of the machine, else Debian's package, unpacked into the
# folder named. Installing the package would start a Prometheus of the machine's own on port 9090.
set -eu
folder=$1
PATH="$folder/usr/bin:$PATH"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
mkdir -p "$folder"
cd "$folder"
if ! apt-get download prometheus; then
    # The package lists of a new machine are empty.
    if [ "$(id -u)" = 0 ]; then apt-get update; else sudo apt-get update; fi
    apt-get download prometheus
fi
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
prometheus --version
promtool --version
