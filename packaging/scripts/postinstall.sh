#!/bin/sh
# Directories: the daemons read etc, and write var and log. Nothing is started: the configuration comes first.
set -e
install -d -m 0750 -o root -g usp /opt/udmg/etc
install -d -m 0700 -o usp -g usp /opt/udmg/var /opt/udmg/log
for name in server client manager; do chgrp usp "/opt/udmg/etc/usp-$name.hcl" && chmod 0640 "/opt/udmg/etc/usp-$name.hcl"; done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # An upgrade takes effect at the next restart of each daemon, which is the administrator's to choose: docs/upgrade.md
fi
