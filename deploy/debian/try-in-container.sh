#!/bin/sh
# Runs try.sh with the two packages given, in a new Debian system with systemd.
# mmdebstrap creates its root directory, and systemd-nspawn boots it in a container without a
# network. Needs root, both programs, and a minute.
set -eu
here=$(dirname "$(realpath "$0")")
first=$(realpath "$1") later=$(realpath "$2")
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mmdebstrap --quiet --variant=minbase --include=systemd-sysv,dbus,ca-certificates,curl,procps "${SUITE:-bookworm}" "$root"
# The minimal Debian does not even resolve localhost.
echo 127.0.0.1 localhost >"$root/etc/hosts"
mkdir "$root/packages"
cp "$first" "$root/packages/first.deb"
cp "$later" "$root/packages/later.deb"
cp "$here/try.sh" "$root/packages/"
cat >"$root/etc/systemd/system/try.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /packages/try.sh /packages/first.deb /packages/later.deb; echo $? >/packages/status'
StandardOutput=append:/packages/output
StandardError=inherit
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
systemctl --quiet --root="$root" enable try.service
timeout 300 systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$root" --boot >"$folder/console" 2>&1 || true
cat "$root/packages/output"
exit "$(cat "$root/packages/status")"
