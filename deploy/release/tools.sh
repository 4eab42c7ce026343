#!/bin/sh
# Installs what package.sh needs into the directory given, except for programs that come from apt.
# With a second argument, `try`, also what try.sh and deploy/debian/try-in-container.sh need.
# `rustup` gets the standard library for musl. zig is the linker and the C compiler for it.
set -eu
tools=$1

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# Arguments: a program, and the package that contains it.
from_apt() {
    command -v "$1" >/dev/null && return
    root apt-get install --yes --no-install-recommends "$2" ||
        # The package lists of a new machine are empty.
        { root apt-get update && root apt-get install --yes --no-install-recommends "$2"; }
}
from_apt lintian lintian
from_apt rpm rpm
from_apt rpmlint rpmlint
from_apt python3 python3-venv
if [ "${2:-}" = try ]; then
    from_apt curl curl
    from_apt mmdebstrap mmdebstrap
    from_apt qemu-aarch64 qemu-user
    from_apt systemd-nspawn systemd-container
fi

rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
cargo install --quiet --locked --root "$tools" \
    cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9 cargo-deb@3.8.0 cargo-generate-rpm@0.21.1

here=$(dirname "$(realpath "$0")")
if ! cmp --silent "$here/requirements.txt" "$tools/zig/requirements.txt"; then
    rm -rf "$tools/zig"
    python3 -m venv "$tools/zig" || { root apt-get install --yes python3-venv && python3 -m venv "$tools/zig"; }
    "$tools/zig/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/zig/"
fi
