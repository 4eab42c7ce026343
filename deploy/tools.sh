#!/bin/sh
# Installs the tools that check.sh uses. System programs that are missing come from apt. The other
# tools come from pip and npm, into the directory given, so the machine's versions of them do not
# matter.
set -eu
tools=$1
here=$(dirname "$(realpath "$0")")

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# Arguments: a program, and the package that contains it.
from_apt() {
    command -v "$1" >/dev/null && return
    root apt-get install --yes --no-install-recommends "$2" ||
        # The package lists of a new machine are empty.
        { root apt-get update && root apt-get install --yes --no-install-recommends "$2"; }
}
from_apt systemd-analyze systemd
from_apt shellcheck shellcheck
from_apt age-keygen age
from_apt jsonnet jsonnet
from_apt python3 python3-venv
from_apt npm npm

if ! cmp --silent "$here/requirements.txt" "$tools/python/requirements.txt"; then
    rm -rf "$tools/python"
    python3 -m venv "$tools/python" || { root apt-get install --yes python3-venv && python3 -m venv "$tools/python"; }
    "$tools/python/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/python/"
fi
if ! cmp --silent "$here/package.json" "$tools/npm/package.json"; then
    rm -rf "$tools/npm"
    mkdir -p "$tools/npm"
    cp "$here/package.json" "$tools/npm/"
    npm install --silent --no-audit --no-fund --prefix "$tools/npm" || { rm "$tools/npm/package.json"; exit 1; }
fi
