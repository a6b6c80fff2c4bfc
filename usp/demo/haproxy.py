"""The real HAProxy in front of a demo's servers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from usp.demo.layout import LOOPBACK, Layout, private_file
from usp.demo.processes import Process, Processes
from usp.errors import UspError
from usp.haproxy import Server, Service, render

LISTENERS = ("partners", "passthrough", "tcp")
"""In the order of their ports."""
INTER = 1
"""Seconds between checks: who tries out what happens does not want to wait for half a minute."""


def program() -> str:
    """Where it is. UspError settings.invalid when it is not installed."""
    found = shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if found is None:
        raise UspError("settings.invalid", "--haproxy needs HAProxy: install it (Debian: apt-get install haproxy)")
    return found


def configuration(layout: Layout) -> str:
    """One service per listener, over all servers. On one machine each server has a port and a Listener of its own."""
    services = []
    for place, listener in enumerate(LISTENERS):
        servers = [
            Server(
                f"usp-server-{number}",
                LOOPBACK,
                ports.partners + place,
                ports.agent,
                listener if number == 1 else f"{listener}-{number}",
            )
            for number, ports in enumerate(layout.servers, start=1)
        ]
        services.append(Service(listener, LOOPBACK, layout.front + place, servers))
    return render(services, stats=str(_stats(layout)), inter=INTER)


def start(processes: Processes, layout: Layout) -> Process:
    config = private_file(layout.etc / "haproxy.cfg", configuration(layout))
    return processes.start("haproxy", [program(), "-db", "-f", str(config)], layout.log / "haproxy.log")


def about(process: Process, layout: Layout) -> dict[str, Any]:
    """For the ready file."""
    return {"port": layout.front, "pid": process.pid, "stats": str(_stats(layout)), "log": str(process.log)}


def _stats(layout: Layout) -> Path:
    return layout.root / "haproxy.sock"
