"""A storm of connections of all kinds from many loopback addresses, made by one process that spends little on each.

Clean ones: partners who log in, banner checks, connections that just close, clients that go away during the key
exchange. Guilty ones: wrong passwords, garbage instead of SSH, connections that stay and say nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

import asyncssh

AT_ONCE: Final = 100
"""Connections under way, beside those that stay."""
_SFTP_INIT: Final = bytes([0, 0, 0, 5, 1, 0, 0, 0, 3])
_VERSION: Final = 2  # SSH_FXP_VERSION
SIMPLE: Final[dict[str, Any]] = {  # what costs the client least
    "config": None,
    "known_hosts": None,
    "client_keys": None,
    "agent_path": None,
    "kex_algs": ["curve25519-sha256"],
    "encryption_algs": ["aes128-gcm@openssh.com"],
    "compression_algs": ["none"],
}


class Kind(StrEnum):
    VALID = "valid"
    BANNER = "banner"
    CLOSE = "close"
    HALF = "half"
    WRONG = "wrong"
    GARBAGE = "garbage"
    SILENT = "silent"


SHARES: Final = {
    Kind.VALID: 10, Kind.BANNER: 20, Kind.CLOSE: 15, Kind.HALF: 15, Kind.WRONG: 20, Kind.GARBAGE: 15, Kind.SILENT: 5,
}  # fmt: skip
"""Percent."""
_PLACES: Final = {
    Kind.VALID: (10, 20), Kind.BANNER: (11, 5), Kind.CLOSE: (12, 5), Kind.HALF: (13, 20), Kind.WRONG: (20, 10),
    Kind.GARBAGE: (21, 5), Kind.SILENT: (22, 2),
}  # fmt: skip
SOURCES: Final = {
    kind: tuple(f"127.0.{net}.{host}" for host in range(1, count + 1)) for kind, (net, count) in _PLACES.items()
}
GUILTY: Final = tuple(source for kind in (Kind.WRONG, Kind.GARBAGE, Kind.SILENT) for source in SOURCES[kind])


class Storm:
    """`results`: how often each (kind, result) was; a result is `ok`, `denied` or `closed`."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self.results = Counter[tuple[Kind, str]]()
        self._port = port
        self._username, self._password = username, password

    async def run(self, count: int, seed: int = 1) -> None:
        """So many connections, in an order that the seed decides."""
        kinds = [kind for kind, share in SHARES.items() for _ in range(count * share // 100)]
        turns = [(kind, SOURCES[kind][number % len(SOURCES[kind])]) for number, kind in enumerate(kinds)]
        random.Random(seed).shuffle(turns)
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for kind, source in turns:
                await gate.acquire()
                group.create_task(self._one(kind, source, gate))

    async def _one(self, kind: Kind, source: str, gate: asyncio.Semaphore) -> None:
        act: dict[Kind, Callable[[str], Coroutine[Any, Any, str]]] = {
            Kind.VALID: self.log_in,
            Kind.WRONG: self._wrong,
        }
        if kind is Kind.SILENT:
            gate.release()
        try:
            result = await (act[kind](source) if kind in act else self._raw(kind, source))
        except (asyncssh.PermissionDenied, asyncssh.DisconnectError, OSError) as error:
            result = "denied" if isinstance(error, asyncssh.PermissionDenied) else "closed"
        finally:
            if kind is not Kind.SILENT:
                gate.release()
        self.results[kind, result] += 1

    async def log_in(self, source: str, username: str = "", password: str = "") -> str:
        """Until the target's sftp answers."""
        login = {"username": username or self._username, "password": password or self._password}
        async with asyncssh.connect(
            "127.0.0.1", self._port, local_addr=(source, 0), **login, **SIMPLE
        ) as connection:  # fmt: skip
            process = await connection.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(_SFTP_INIT)
            head = await process.stdout.readexactly(5)
            assert head[4] == _VERSION
        return "ok"

    async def _wrong(self, source: str) -> str:
        """Every other one at the account that the others use."""
        username = self._username if int(source[-1]) % 2 else f"nobody-{source}"
        return await self.log_in(source, username, "wrong")

    async def _raw(self, kind: Kind, source: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        try:
            if kind is Kind.GARBAGE:
                writer.write(random.Random(source).randbytes(2000) + b"\n")
            if kind is Kind.CLOSE:
                return "ok"
            if kind in (Kind.GARBAGE, Kind.SILENT):
                await reader.read()
                return "closed"
            banner = await reader.readline()
            if kind is Kind.HALF and banner:
                writer.write(b"SSH-2.0-half\r\n")
                offer = await reader.readexactly(4)
                offer += await reader.readexactly(int.from_bytes(offer, "big"))
                writer.write(offer)  # the server's own offer is one that it agrees with
                await asyncio.sleep(0.05)
            return "ok" if banner.startswith(b"SSH-2.0-") else "closed"
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
