#!/bin/sh
# For root only: the service gets copies from systemd.
install -d -m 0700 /etc/connections-exporter/secrets
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # The first argument is the number of installed versions: more than 1 is an upgrade.
    if [ "$1" -gt 1 ]; then
        systemctl try-restart connections-exporter.service || :
    fi
fi
