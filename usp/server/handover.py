"""The hand-over of an upgrade: the supervisor replaces its program by the installed one, and keeps its sessions.

At SIGUSR2 the new program first has to accept the configuration (`--check`, in a process of its own); if it does not,
nothing happens. Then the supervisor stops accepting, finishes what it was about, and calls execve(2). What stays open
across it: the listening sockets, in whose queues new connections wait for a second or two, and the sockets to the
workers, which go on with their sessions and do not notice. The rest is told in two sealed memory files: the snapshot,
and `Handed`. The new program starts new workers, waits until tunnels have links to them, and accepts again. The old
workers take nothing new; each ends with its last session, or after `server.upgrade_timeout`.

The process keeps its id: to systemd it is the same daemon.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, MutableMapping, Sequence
from typing import Final

from pydantic import TypeAdapter

from usp.errors import UspError
from usp.log import get_logger
from usp.model import Model
from usp.plan import Endpoint
from usp.server import ipc
from usp.server.slots import HeldLink, HeldSession, Process, Slot, Worker
from usp.snapshot import Snapshot
from usp.status import LinkState

log = get_logger(__name__)

VARIABLE: Final = "USP_HANDOVER"
CHECK_TIMEOUT: Final = 60.0
LOOK: Final = 0.02
QUIET_TIMEOUT: Final = 3.0
"""Seconds to finish what was begun: connections whose PROXY header is awaited, messages to workers."""
HELD_BACK: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Signals that wait until the new program handles them."""


class Listening(Model):
    address: str
    port: int
    fd: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, self.port)


class HeldWorker(Model):
    """A worker that goes on. `sessions` and `links` by id."""

    slot: int
    pid: int
    fd: int
    version: int
    sessions: dict[str, HeldSession]
    links: dict[str, HeldLink]


class Handed(Model):
    """`snapshot`: a memory file; -1: there is none yet. `boot` and `started_at` stay: it is the same life."""

    boot: str
    started_at: float
    orders: dict[str, bool]
    drained: bool
    listening: tuple[Listening, ...]
    management: int
    snapshot: int
    workers: tuple[HeldWorker, ...]

    def sockets(self) -> dict[Endpoint, socket.socket]:
        return {each.endpoint: _socket(each.fd) for each in self.listening}

    def management_socket(self) -> socket.socket:
        return _socket(self.management)

    def taken_snapshot(self) -> Snapshot | None:
        if self.snapshot < 0:
            return None
        try:
            return Snapshot.model_validate_json(ipc.from_memfd(self.snapshot))
        finally:
            os.close(self.snapshot)

    def missing_links(self, slots: Sequence[Slot]) -> int:
        """Clients that had links to the old workers, and do not have one to every new one yet."""
        before = {held.link.client for worker in self.workers for held in worker.links.values() if held.link.client}
        now = Counter(link.client for slot in slots for link in slot.view().links if link.state is LinkState.UP)
        return sum(now[client] < len(slots) for client in before)

    def old_workers(self) -> list[Worker]:
        return [_worker(held) for held in self.workers]


_ADAPTER: Final = TypeAdapter(Handed)


def taken(environ: MutableMapping[str, str]) -> Handed | None:
    """What the program before has handed over, if there was one."""
    number = environ.pop(VARIABLE, "")
    if not number:
        return None
    fd = int(number)
    try:
        return _ADAPTER.validate_json(ipc.from_memfd(fd))
    finally:
        os.close(fd)


async def checked(argv: Sequence[str] | None = None) -> None:
    """UspError settings.invalid unless the program that is installed now accepts the configuration."""
    process = await asyncio.create_subprocess_exec(
        *(argv or command()), "--check", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise UspError("settings.invalid", "the new program does not answer") from None
    if process.returncode:
        reason = said.decode(errors="replace").strip().splitlines()
        raise UspError("settings.invalid", f"the new program refuses: {reason[-1] if reason else process.returncode}")


async def quiet(left: Callable[[], int], timeout: float = QUIET_TIMEOUT) -> None:
    """Until nothing is left, or for `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while left() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  (counts of several owners)
        await asyncio.sleep(LOOK)


def command() -> list[str]:
    """How this program was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def listening(open: tuple[Endpoint, socket.socket]) -> Listening:
    endpoint, sock = open
    return Listening(address=endpoint.address, port=endpoint.port, fd=sock.fileno())


def held(worker: Worker) -> HeldWorker:
    return HeldWorker(
        slot=worker.slot,
        pid=worker.process.pid,
        fd=worker.channel.fileno(),
        version=worker.version,
        sessions=worker.sessions,
        links=worker.links,
    )


def execute(handed: Handed) -> None:
    """The step of no return. Only OSError brings it back: then nothing has happened."""
    fds = [each.fd for each in handed.listening] + [each.fd for each in handed.workers] + [handed.management]
    fds += [handed.snapshot] if handed.snapshot >= 0 else []
    told = ipc.to_memfd(_ADAPTER.dump_json(handed))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        for fd in (*fds, told):
            os.set_inheritable(fd, True)
        os.execve(sys.executable, command(), {**os.environ, VARIABLE: str(told)})  # noqa: S606
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
        os.close(told)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_signals() -> None:
    """They are handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


def _socket(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


def _worker(held: HeldWorker) -> Worker:
    worker = Worker(held.slot, Process(held.pid), ipc.supervisor_end(_socket(held.fd)))
    worker.speaks = True
    worker.version = held.version
    worker.sessions.update(held.sessions)
    worker.links.update(held.links)
    return worker
