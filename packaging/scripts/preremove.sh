#!/bin/sh
# $1: "remove" (deb) or 0 (rpm) when the package goes, "upgrade" or 1 when another one follows.
set -e
case "$1" in remove | 0)
    if [ -d /run/systemd/system ]; then
        systemctl disable --now usp-server.service usp-client.service usp-manager.service >/dev/null 2>&1 || true
    fi
    ;;
esac
