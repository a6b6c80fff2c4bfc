"""Where everything of one demo lies, and which ports it uses."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from usp.errors import UspError

LOOPBACK = "127.0.0.1"
MANAGER_PORT = 8443
PORT_BASE = 2222
FREE = range(20000, 32000)
"""Below what the kernel gives to outgoing connections, so that nothing takes a port between the choice and its use."""
FRONT = 100
"""Beyond the port base: what HAProxy listens on."""


@dataclass(frozen=True)
class Ports:
    """Partners' ports follow from the port base (interfaces.md); all others are free ports chosen at start."""

    partners: int
    passthrough: int
    tcp: int
    management: int
    tunnel: int
    server_metrics: int
    client_metrics: int
    agent: int


@dataclass(frozen=True)
class ManagerPorts:
    api: int
    metrics: int


@dataclass(frozen=True)
class Layout:
    """The directory of a demo: `etc/` configuration and keys, `log/`, `manager/` the database, `target/` the files."""

    root: Path
    servers: tuple[Ports, ...]
    managers: tuple[ManagerPorts, ...]
    target_port: int
    front: int = 0  # the first of HAProxy's three ports; 0: without
    taken: set[int] = field(default_factory=set, compare=False)

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def files(self) -> Path:
        """What the target serves: a file that a partner uploads as `x` lies here as `x`."""
        return self.root / "target"

    def make(self) -> None:
        shutil.rmtree(self.root / "manager", ignore_errors=True)  # the database of an earlier demo has other keys
        for directory in (self.etc, self.log, self.files, self.root / "manager"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def plan(root: Path, *, servers: int, port_base: int, managers: int = 1, haproxy: bool = False) -> Layout:
    """Choose ports. Raises settings.invalid when a port that must be free is not."""
    taken: set[int] = set()

    # Each port base begins somewhere else, so that demos started at the same moment do not choose the same.
    candidates = (FREE[(port_base // 10 * 15 + n) % len(FREE)] for n in count())

    def free() -> int:
        port = next(port for port in candidates if port not in taken and _is_free(port))
        taken.add(port)
        return port

    def fixed(port: int) -> int:
        if not 1 <= port <= 65535 or not _is_free(port):
            raise UspError("settings.invalid", f"port {port} is in use: choose another with --port-base")
        taken.add(port)
        return port

    ports = tuple(
        Ports(
            partners=fixed(port_base + 10 * k),
            passthrough=fixed(port_base + 10 * k + 1),
            tcp=fixed(port_base + 10 * k + 2),
            management=free(),
            tunnel=free(),
            server_metrics=free(),
            client_metrics=free(),
            agent=free(),
        )
        for k in range(servers)
    )
    front = [fixed(port_base + FRONT + n) for n in range(3)] if haproxy else [0]
    # Who asks for ports of their own may well start several demos at the same moment.
    first = MANAGER_PORT if port_base == PORT_BASE and _is_free(MANAGER_PORT) else free()
    apis = [first, *(free() for _ in range(managers - 1))]
    managing = tuple(ManagerPorts(api, free()) for api in apis)
    return Layout(root, ports, managers=managing, target_port=free(), front=front[0])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def private_file(path: Path, text: str) -> Path:
    """Write a file that only its owner can read. Returns `path`."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path
