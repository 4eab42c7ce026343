#!/bin/sh
# Makes prometheus, promtool, prometheus-alertmanager and amtool available: those of the machine, else Debian's
# packages, unpacked into the folder named. Installing them would start them, on the ports that people use.
set -eu
folder=$1
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
PATH="$folder/usr/bin:$PATH"
mkdir -p "$folder"
cd "$folder"
# The package, and the programs wanted of it.
from_debian() {
    package=$1
    shift
    missing=
    for program in "$@"; do command -v "$program" >/dev/null || missing=$program; done
    [ -n "$missing" ] || return 0
    if ! apt-get download "$package"; then
        # The package lists of a new machine are empty.
        root apt-get update
        apt-get download "$package"
    fi
    dpkg-deb --extract "$package"_*.deb .
    rm "$package"_*.deb
    for program in "$@"; do "$program" --version; done
}
from_debian prometheus prometheus promtool
from_debian prometheus-alertmanager prometheus-alertmanager amtool
# Debian's Alertmanager reads these at this place only.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ]; then
    root mkdir -p "$templates"
    root cp ".$templates"/*.tmpl "$templates/"
fi
