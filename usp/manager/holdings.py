"""Which servers this manager looks after, of those that all managers could.

With several managers on one database, each server is looked after by one of them: by who holds its lease, a row that
counts by the database's clock. That saves work done twice, and nothing else depends on it: what keeps a server from
harm is that versions only grow. So whoever does not hold a lease looks at the server all the same when nobody holds it,
or when what is known of it gets old, because its holder does not reach it. A manager that gets no answer lets go of the
lease, and leaves it to the others for a while. One that dies keeps its leases for `LASTING` looks at most.

What only one manager is to do for a server at a time asks here: `lease`. Where two would do harm, the write itself asks
for the lease's fence, too (usp.manager.store.leases.still_held): a process that was stopped for a while wakes up late.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from usp.errors import UspError
from usp.log import get_logger
from usp.manager.store import Store
from usp.manager.store.leases import Lease, Standing

log = get_logger(__name__)

PREFIX: Final = "server/"

# All in looks, of which there is one in each `push.interval` (a second):
LASTING: Final = 4
"""How long a lease is held without being renewed."""
OLD: Final = 1.5
"""What was seen longer ago is old."""
STANDING_BACK: Final = 2
"""How long whoever got no answer leaves the lease to the others."""
TICK: Final = 0.5
"""Between looks at the leases."""

PATIENCE: Final = 1.0
"""Seconds for the database to take the leases back when this manager ends."""


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    until: float  # by the loop's clock, and no later than by the database's


class Holdings:
    """`id` is this manager's alone, `interval` the seconds between looks. `servers`: the names of all of them."""

    def __init__(self, store: Store, id: str, interval: float) -> None:
        self.servers: frozenset[str] = frozenset()
        self._store = store
        self._id = id
        self._interval = interval
        self.pause: Final = TICK * interval  # seconds after which `is_due` is worth asking again
        self._held: dict[str, _Held] = {}
        self._others: dict[
            str, float
        ] = {}  # server that another manager holds -> when it was seen, by the loop's clock
        self._standing_back: dict[str, float] = {}  # server -> until when
        self._turn = asyncio.Lock()  # what is given back is not taken at the same moment

    def lease(self, server: str) -> Lease | None:
        """The server's lease, if this manager holds it now."""
        found = self._held.get(server)
        return found.lease if found is not None and _now() < found.until else None

    def holds(self, server: str) -> bool:
        return self.lease(server) is not None

    def is_due(self, server: str) -> bool:
        """Whether this manager is to look at the server: unless another one does."""
        seen = self._others.get(server)
        return seen is None or _now() - seen > OLD * self._interval

    async def let_go(self, server: str) -> None:
        """It does not answer here: another manager may try."""
        async with self._turn:
            self._standing_back[server] = _now() + STANDING_BACK * self._interval
            if (held := self._held.pop(server, None)) is not None:
                await self._store.leases.release(held.lease)

    async def run(self) -> None:
        """Take leases and renew them, until cancelled; then all of them are free."""
        try:
            while True:
                try:
                    async with self._turn:
                        await self._tick()
                except UspError as error:
                    self._others.clear()
                    log.debug("leases.store", exc_info=error)
                await asyncio.sleep(self.pause)
        finally:
            await self._release()

    async def _release(self) -> None:
        if self._held:
            with contextlib.suppress(UspError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._store.leases.release(*(held.lease for held in self._held.values()))
        self._held.clear()

    async def _tick(self) -> None:
        standing = {each.name.removeprefix(PREFIX): each for each in await self._store.leases.standing(PREFIX)}
        ages = await self._store.servers.ages()
        now = _now()
        self._others = {
            server: now - ages[server]
            for server, each in standing.items()
            if each.holder != self._id and each.left > 0 and server in ages
        }
        await self._take(sorted(server for server in self.servers if self._wants(server, standing.get(server), now)))

    def _wants(self, server: str, standing: Standing | None, now: float) -> bool:
        if now < self._standing_back.get(server, 0.0):
            return False
        if standing is None or standing.left <= 0:
            return True
        mine = standing.holder == self._id
        return mine and (server not in self._held or standing.left < LASTING * self._interval / 2)

    async def _take(self, servers: Iterable[str]) -> None:
        names = [PREFIX + server for server in servers]
        if not names:
            return
        lasting, began = LASTING * self._interval, _now()
        for lease in await self._store.leases.take_each(names, self._id, timedelta(seconds=lasting)):
            self._held[lease.name.removeprefix(PREFIX)] = _Held(lease, began + lasting)


def holder(name: str, random: float) -> str:
    """Who holds a lease: a manager's name, as far as it fits, and what tells two of that name apart, which may run
    while one is replaced."""
    return f"{name[:24]}/{int(random * 1e16):x}"


def manager_of(holder: str) -> str:
    """Its name."""
    return holder.rpartition("/")[0]


def _now() -> float:
    return asyncio.get_running_loop().time()
