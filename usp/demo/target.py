"""An SFTP target on this machine for the demo to relay to.

OpenSSH's own sshd, if it is installed together with libnss-wrapper: that library gives sshd a user and a password of
its own, so that neither root nor a system account is needed. Otherwise a small target on asyncssh, run as a process of
its own (`python -m usp.demo.target FILE`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh

from usp.demo.keys import Keys
from usp.demo.layout import LOOPBACK, Layout, private_file
from usp.demo.processes import Process, Processes, python

SSHD_DIRS = ("/usr/sbin", "/usr/local/sbin", "/sbin")

SSHD_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {host_key}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
AuthorizedKeysFile {authorized_keys}
MaxStartups 1000
MaxSessions 100
LogLevel VERBOSE
Subsystem sftp internal-sftp -d {files}
ForceCommand internal-sftp -d {files}
"""


def start(processes: Processes, layout: Layout, keys: Keys, *, username: str, password: str) -> Process:
    """Start the target; it accepts `username` with `password` or the gateway's key, and serves `layout.files`."""
    sshd = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), *SSHD_DIRS]))
    wrapper = _nss_wrapper()
    if sshd and wrapper:
        return _start_sshd(processes, layout, keys, sshd, wrapper, username, password)
    settings = {
        "port": layout.target_port,
        "host_key": str(keys.target_host_key.path),
        "files": str(layout.files),
        "username": username,
        "password": password,
        "authorized_key": keys.gateway.public,
    }
    file = private_file(layout.etc / "target.json", json.dumps(settings))
    return processes.start("target", python("usp.demo.target", str(file)), layout.log / "target.log")


def _start_sshd(
    processes: Processes, layout: Layout, keys: Keys, sshd: str, wrapper: str, username: str, password: str
) -> Process:
    etc = layout.etc
    uid, gid = os.getuid(), os.getgid()
    config = SSHD_CONFIG.format(
        port=layout.target_port,
        host=LOOPBACK,
        host_key=keys.target_host_key.path,
        authorized_keys=f"{keys.gateway.path}.pub",
        files=layout.files,
    )
    shadow = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    env = {
        "LD_PRELOAD": wrapper,
        "NSS_WRAPPER_PASSWD": str(
            private_file(
                etc / "passwd",
                f"{username}:x:{uid}:{gid}::{layout.files}:/bin/sh\nsshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n",
            )
        ),
        "NSS_WRAPPER_GROUP": str(private_file(etc / "group", f"{username}:x:{gid}:\n")),
        "NSS_WRAPPER_SHADOW": str(
            private_file(etc / "shadow", f"{username}:{shadow.stdout.strip()}:19000:0:99999:7:::\n")
        ),
    }
    if uid == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation wants it
    argv = [sshd, "-D", "-e", "-f", str(private_file(etc / "sshd_config", config))]
    return processes.start("target", argv, layout.log / "target.log", env=env)


def _nss_wrapper() -> str | None:
    found = sorted(Path("/usr/lib").glob("*/libnss_wrapper.so")) + sorted(Path("/usr/lib64").glob("libnss_wrapper.so"))
    return str(found[0]) if found and shutil.which("openssl") else None


class _Login(asyncssh.SSHServer):
    def __init__(self, settings: dict[str, Any]) -> None:
        self._username, self._password = settings["username"], settings["password"]
        self._key = asyncssh.import_public_key(settings["authorized_key"])

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (self._username, self._password)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._username and key == self._key


async def _serve(settings: dict[str, Any]) -> None:
    await asyncssh.listen(
        LOOPBACK,
        settings["port"],
        config=None,
        server_factory=lambda: _Login(settings),
        server_host_keys=[settings["host_key"]],
        sftp_factory=asyncssh.SFTPServer,
        allow_scp=False,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    _settings = json.loads(Path(sys.argv[1]).read_text())
    os.chdir(_settings["files"])
    asyncio.run(_serve(_settings))
