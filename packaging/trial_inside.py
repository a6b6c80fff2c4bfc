"""Runs inside the clean root of packaging/trial.py, with the installed package's own Python: a small installation whose
daemons are started by the ExecStart of their units, as their user."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncssh

from usp.demo import main as demo
from usp.demo import setup, target
from usp.demo.keys import make
from usp.demo.layout import LOOPBACK, plan
from usp.demo.managers import start_managers
from usp.demo.processes import Process, Processes

UNITS = Path("/usr/lib/systemd/system")
ETC = Path("/opt/udmg/etc")
HOME = Path("/opt/udmg/var/trial")


class AsUnits(Processes):
    """Starts the daemons as systemd would: the unit's command, as its user. (The target is no part of the package.)"""

    def start(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
        unit = UNITS / f"{name.rpartition('-')[0]}.service"
        if not unit.exists():
            return super().start(name, argv, log, env)
        lines = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
        config = ETC / f"{unit.stem}.hcl"
        shutil.copy(argv[list(argv).index("-config") + 1], config)
        os.chmod(config, 0o640)
        subprocess.run(["chown", "-R", "usp:usp", str(HOME)], check=True)
        shutil.chown(config, "root", "usp")
        command = ["setpriv", "--reuid", lines["User"], "--regid", lines["Group"], "--clear-groups", "--no-new-privs"]
        return super().start(name, [*command, *shlex.split(lines["ExecStart"])], log, env)


async def transferred(port: int, host_key: str, login: dict[str, str], files: Path) -> None:
    content = secrets.token_bytes(3_000_000)
    known = asyncssh.import_known_hosts(f"[{LOOPBACK}]:{port} {host_key}\n")
    async with (
        asyncssh.connect(LOOPBACK, port, known_hosts=known, client_keys=None, config=None, **login) as connection,
        connection.start_sftp_client() as sftp,
        sftp.open("upload", "wb") as file,
    ):
        await file.write(content)
    assert (files / "upload").read_bytes() == content
    print("a transfer of 3 MB passed")


def main() -> None:
    layout = plan(HOME, servers=1, port_base=23_222)
    layout.make()
    keys = make(layout, servers=1)
    processes = AsUnits()
    password, admin = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    options = demo.Options(1, 1, None, 2, False, 23_222, False, None, False, None)
    try:
        target.start(processes, layout, keys, username="partner", password=password)
        at = setup.Target(LOOPBACK, layout.target_port, keys.target_host_key.public, "partner", keys.gateway.private)
        demo._start_server(processes, layout, keys, 1, options)
        demo._start_client(processes, layout, keys, 1, at)
        start_managers(processes, layout, keys, None, admin)
        for ports in layout.managers:
            demo._wait_for(f"http://{LOOPBACK}:{ports.metrics}/readyz", processes)
        url = f"https://{LOOPBACK}:{layout.managers[0].api}"
        token = asyncio.run(setup.api_token(url, keys.ca, demo.ADMIN, admin))
        login = {"username": "partner", "password": password}
        api = setup.Api(url, token, keys.ca)
        asyncio.run(demo._configure(api, layout, keys, at, login, {}, options))
        for process in processes.running[1:]:
            status = Path(f"/proc/{process.pid}/status").read_text()
            uid = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1]
            assert int(uid) == pwd.getpwnam("usp").pw_uid
            print(f"{process.name} runs as usp ({uid})")
        asyncio.run(transferred(layout.servers[0].partners, keys.host_key.public, login, layout.files))
    except BaseException:
        for process in processes.running:
            print(f"--- {process.name}\n{process.tail(20)}")
        raise
    finally:
        processes.stop()


if __name__ == "__main__":
    main()
