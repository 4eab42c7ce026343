#!/bin/sh
# No version is left: this is no upgrade.
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now connections-exporter.service || :
fi
