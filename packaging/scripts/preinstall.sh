#!/bin/sh
# The user that the daemons run as. It stays when the package goes: files may belong to it.
set -e
if ! getent group usp >/dev/null; then groupadd --system usp; fi
if ! getent passwd usp >/dev/null; then
    useradd --system --gid usp --home-dir /opt/udmg/var --no-create-home --shell /usr/sbin/nologin usp
fi
