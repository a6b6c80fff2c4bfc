#!/bin/sh
# What the package made goes; data stays: keys below etc, the database below var, logs, and the user that they belong to.
set -e
case "$1" in remove | purge | 0)
    find /opt/udmg/venv -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
    rmdir /opt/udmg/etc /opt/udmg/var /opt/udmg/log /opt/udmg 2>/dev/null || true
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
    ;;
esac
