"""A mixed load of partners that remember all that they were told: uploads small and big, downloads, renames, removals,
listings, transfers that are broken off, and strangers with wrong passwords and worse in between.

What a file holds follows from its name, and no name is used twice: so at any time it can be said of every file at the
target whether it may be there, must be there, and what must be in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import asyncssh

from tests.e2e.storm import SIMPLE, Storm

KEPT: Final = 40
"""Files of a partner, about: above it removals are more likely than uploads."""
SMALL, BIG = (1, 64 << 10), (1 << 20, 6 << 20)
MOST_BYTES: Final = BIG[1]
AGAIN: Final = 0.3
STORM: Final = 40
"""Connections of strangers, and then a pause."""


def size(name: str) -> int:
    low, high = BIG if "-big-" in name else SMALL
    return random.Random(name).randint(low, high)


def content(name: str) -> bytes:
    """From a block that all share: to make it afresh would cost more than to transfer it."""
    start = random.Random(f"{name}-start").randrange(_BLOCK_BYTES)
    return (_BLOCK[start:] + _BLOCK)[: size(name)]


_BLOCK: Final = random.Random(1).randbytes(MOST_BYTES)
_BLOCK_BYTES: Final = len(_BLOCK)


@dataclass
class Told:
    """`there`: name -> the name that it was uploaded under, acknowledged. `gone`: removed, acknowledged. `moving`: a
    rename without an answer: (old, new, uploaded as)."""

    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    moving: list[tuple[str, str, str]] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def check(self, folder: Path) -> int:
        """Every file is as it was told; how many bytes were compared."""
        compared = 0
        for name, uploaded in self.there.items():
            assert (folder / name).exists(), f"the acknowledged {name} is lost"
            assert (folder / name).read_bytes() == content(uploaded), f"the acknowledged {name} is wrong"
            compared += size(uploaded)
        back = [name for name in self.gone if (folder / name).exists()]
        assert not back, f"removed, acknowledged, and there: {back[:5]}"
        for old, new, uploaded in self.moving:
            left = [name for name in (old, new) if (folder / name).exists()]
            assert len(left) == 1, f"a rename without an answer left {left}"
            assert (folder / left[0]).read_bytes() == content(uploaded)
        assert not self.wrong, f"came back as something else: {self.wrong[:5]}"
        return compared


class Mixed:
    """`pace`: seconds between two acts of a partner, on average."""

    def __init__(self, ports: list[int], login: dict[str, str], partners: int, pace: float, seed: int = 1) -> None:
        self.told = Told()
        self.sessions = 0
        self.bad = Counter[str]()
        self._ports, self._login, self._pace = ports, login, pace
        self._partners = partners
        self._chance = random.Random(seed)
        self._over = asyncio.Event()

    async def run(self, seconds: float) -> None:
        # asyncssh's client does not await all pieces of a transfer whose connection was lost
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with asyncio.TaskGroup() as group:
            for number in range(self._partners):
                group.create_task(self._partner(number))
            group.create_task(self._strangers())
            await asyncio.sleep(seconds)
            self._over.set()

    async def _partner(self, number: int) -> None:
        names = (f"p{number}-{'big' if self._chance.random() < 0.12 else 'small'}-{n}" for n in range(1 << 60))
        mine: dict[str, str] = {}
        while not self._over.is_set():
            try:
                await self._session(number, mine, lambda: next(names))
                self.sessions += 1
            except (asyncssh.Error, OSError) as error:
                self.told.done[f"ended by {type(error).__name__}"] += 1
                await asyncio.sleep(AGAIN)

    async def _session(self, number: int, mine: dict[str, str], name: Callable[[], str]) -> None:
        port = self._ports[number % len(self._ports)]
        address = (f"127.0.{30 + number // 200}.{1 + number % 200}", 0)
        async with (
            asyncssh.connect(
                "127.0.0.1", port, local_addr=address, connect_timeout=30, login_timeout=30, **self._login, **SIMPLE
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            for _ in range(self._chance.randint(1, 12)):
                if self._over.is_set():
                    return
                act = self._choose(mine)
                if act == "abort":
                    await self._abort(connection, sftp, name())
                    return
                await self._acts[act](self, sftp, mine, name)
                self.told.done[act] += 1
                await asyncio.sleep(self._chance.expovariate(1 / self._pace))

    def _choose(self, mine: dict[str, str]) -> str:
        if not mine:
            return "upload"
        full = len(mine) > KEPT
        weights = {"upload": 1 if full else 6, "download": 5, "rename": 1, "remove": 6 if full else 1, "list": 1}
        return self._chance.choices([*weights, "abort"], [*weights.values(), 0.4])[0]

    async def _upload(self, sftp: asyncssh.SFTPClient, mine: dict[str, str], name: Callable[[], str]) -> None:
        new = name()
        self.told.unsure.add(new)
        async with sftp.open(new, "wb") as file:
            await file.write(content(new))
        self.told.unsure.discard(new)
        mine[new] = self.told.there[new] = new
        self.told.bytes += size(new)

    async def _download(self, sftp: asyncssh.SFTPClient, mine: dict[str, str], name: Callable[[], str]) -> None:
        which = self._chance.choice(list(mine))
        async with sftp.open(which, "rb") as file:
            found = cast(bytes, await file.read())
        self.told.bytes += len(found)
        if found != content(mine[which]):
            self.told.wrong.append(which)

    async def _rename(self, sftp: asyncssh.SFTPClient, mine: dict[str, str], name: Callable[[], str]) -> None:
        old, new = self._chance.choice(list(mine)), f"{name()}-moved"
        uploaded = mine.pop(old)
        del self.told.there[old]
        self.told.moving.append((old, new, uploaded))
        await sftp.rename(old, new)
        self.told.moving.remove((old, new, uploaded))
        mine[new] = self.told.there[new] = uploaded
        self.told.gone.add(old)

    async def _remove(self, sftp: asyncssh.SFTPClient, mine: dict[str, str], name: Callable[[], str]) -> None:
        which = self._chance.choice(list(mine))
        del mine[which]
        del self.told.there[which]
        self.told.unsure.add(which)
        await sftp.remove(which)
        self.told.unsure.discard(which)
        self.told.gone.add(which)

    async def _list(self, sftp: asyncssh.SFTPClient, mine: dict[str, str], name: Callable[[], str]) -> None:
        missing = set(mine) - set(map(str, await sftp.listdir(".")))
        if missing:
            self.told.wrong.extend(f"{each} is not listed" for each in missing)

    async def _abort(self, connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, name: str) -> None:
        """The partner's machine is switched off in the middle of a transfer."""
        self.told.unsure.add(name)
        writing = asyncio.ensure_future(self._write(sftp, name))
        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        connection.abort()
        with contextlib.suppress(asyncssh.Error, OSError):
            await writing
        self.told.done["abort"] += 1

    async def _write(self, sftp: asyncssh.SFTPClient, name: str) -> None:
        async with sftp.open(name, "wb") as file:
            await file.write(_BLOCK)

    async def _strangers(self) -> None:
        await asyncio.sleep(10)  # partners have been there before them
        while not self._over.is_set():
            storm = Storm(self._chance.choice(self._ports), **self._login)
            with contextlib.suppress(OSError, ExceptionGroup):
                await storm.run(STORM, seed=self._chance.randrange(1 << 30))
            for (kind, result), times in storm.results.items():
                self.bad[f"{kind} {result}"] += times
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), 4)

    _acts: Final[dict[str, Callable[..., Coroutine[Any, Any, None]]]] = {
        "upload": _upload, "download": _download, "rename": _rename, "remove": _remove, "list": _list,
    }  # fmt: skip
