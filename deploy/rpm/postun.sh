#!/bin/sh
# Configuration, secrets and state stay, as is usual for RPM packages.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
