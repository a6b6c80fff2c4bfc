"""Partners that upload and download without end, from an address each, and remember what the gateway acknowledged.

All in a thread with an event loop of its own, and slowly: a few kilobytes at a time, so that a transfer is under way
at almost any moment and the machine is not busy with it. What a file holds follows from its name, so that it can be
checked byte for byte when all is over.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import asyncssh

from tests.e2e.storm import SIMPLE

PIECE: Final = 16 * 1024
PIECES: Final = 12
"""At most, of a file."""
PAUSE: Final = 0.15
"""Seconds after each piece."""
AGAIN: Final = 0.25
"""Seconds until somebody whose session ended tries again."""


@dataclass(frozen=True)
class End:
    """A session that ended, or did not come about, while the partner had not finished."""

    at: float  # time.monotonic()
    place: str  # the partner's address and port; no port: it was never logged in
    why: str


def content(name: str) -> bytes:
    chance = random.Random(name)
    return chance.randbytes(chance.randint(1, PIECES * PIECE))


class Load:
    """`acknowledged`: names of the files whose close was answered. `wrong`: those that came back as something else.
    `sessions`: who is logged in, as `address:port`, and since when. `stay`: after so many files a partner leaves, and
    comes back; 0: never."""

    def __init__(self, port: int, login: dict[str, str], partners: int, stay: int = 0) -> None:
        self.addresses = [f"127.0.1.{number}" for number in range(1, partners + 1)]
        self.acknowledged: list[str] = []
        self.wrong: list[str] = []
        self.ends: list[End] = []
        self.sessions: dict[str, float] = {}
        self._port, self._login, self._stay = port, login, stay
        self._over = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Everybody finishes the file that is under way."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def check(self, folder: Path) -> None:
        """Every acknowledged file lies there, whole."""
        missing = [name for name in self.acknowledged if not (folder / name).exists()]
        assert not missing, f"{len(missing)} acknowledged files are lost: {missing[:5]}"
        other = [name for name in self.acknowledged if (folder / name).read_bytes() != content(name)]
        assert not other, f"{len(other)} acknowledged files are wrong: {other[:5]}"
        assert not self.wrong, f"came back as something else: {self.wrong[:5]}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._partners())
        self._loop.close()

    async def _partners(self) -> None:
        async with asyncio.TaskGroup() as group:
            for address in self.addresses:
                group.create_task(self._partner(address))

    async def _partner(self, address: str) -> None:
        number = 0

        def next_name() -> str:
            nonlocal number
            number += 1
            return f"{address}-{number}"

        while not self._over.is_set():
            place = [address]
            try:
                await self._session(place, next_name)
            except (asyncssh.Error, OSError) as error:
                self.ends.append(End(time.monotonic(), place[0], f"{type(error).__name__}: {error}"))
                await asyncio.sleep(AGAIN)
            finally:
                self.sessions.pop(place[0], None)

    async def _session(self, place: list[str], next_name: Callable[[], str]) -> None:
        address = place[0]
        async with asyncssh.connect(
            "127.0.0.1",
            self._port,
            local_addr=(address, 0),
            connect_timeout=20,
            login_timeout=20,
            **self._login,
            **SIMPLE,
        ) as connection:
            place[0] = f"{address}:{connection.get_extra_info('sockname')[1]}"
            async with connection.start_sftp_client() as sftp:
                self.sessions[place[0]] = time.monotonic()
                files = 0
                while not self._over.is_set() and not (self._stay and files == self._stay):
                    files += 1
                    name = next_name()
                    await self._upload(sftp, name)
                    self.acknowledged.append(name)
                    if await self._download(sftp, name) != content(name):
                        self.wrong.append(name)

    async def _upload(self, sftp: asyncssh.SFTPClient, name: str) -> None:
        async with sftp.open(name, "wb") as file:
            await self._in_pieces(content(name), file.write)

    async def _in_pieces(self, data: bytes, write: Callable[[bytes], Coroutine[Any, Any, int]]) -> None:
        for start in range(0, len(data), PIECE):
            await write(data[start : start + PIECE])
            await asyncio.sleep(PAUSE)

    async def _download(self, sftp: asyncssh.SFTPClient, name: str) -> bytes:
        found = bytearray()
        async with sftp.open(name, "rb") as file:
            while piece := await file.read(PIECE):
                found += cast(bytes, piece)
                await asyncio.sleep(PAUSE)
        return bytes(found)
