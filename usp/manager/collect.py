"""The collector: fetches what servers tell of their partners, and stores it.

One task per Proxy Server, which waits at the server for news (the server never calls). The next question says what is
stored, and only then does the server forget it. Only the manager that looks after a server asks it (`holds`), to save
work; several may do so at once all the same, and may fail in between: the store takes each event once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from usp import backoff
from usp.chain import Link, read
from usp.errors import UspError
from usp.log import get_logger
from usp.manager.catalog import Catalog
from usp.manager.control import Controls, Endpoint
from usp.manager.store import Store
from usp.manager.store.rows import Event, Source
from usp.metrics import EVENTS_TOTAL
from usp.model import ProxyServer
from usp.settings import EventSettings
from usp.tasks import TaskSet

log = get_logger(__name__)

PATIENCE: Final = 20.0
"""Seconds that a question waits at the server."""
SLICE: Final = 400
"""Events in one transaction."""
LOOK: Final = 2.0
"""Seconds between looks at which servers there are, and at who looks after them."""
INITIAL: Final = 0.5
MAXIMUM: Final = 5.0
"""Seconds between attempts."""
QUIET: Final = 1.0
"""Seconds before asking again a server that has nothing to tell and did not wait: one of an older release."""

KEEPING: Final = "events.keeping"
"""The lease of who forgets old events."""


class Collector:
    """`holds(server)`: whether this manager looks after it now."""

    def __init__(
        self,
        store: Store,
        controls: Controls,
        holds: Callable[[str], bool],
        *,
        clock: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._controls = controls
        self._holds = holds
        self._clock = clock
        self._random = random
        self._tasks = TaskSet()
        self._watched: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled: one task for each enabled Proxy Server of the catalog, as it is now."""
        try:
            while True:
                try:
                    self._follow(await self._store.items.read())
                except UspError as error:
                    log.error("collector.store", exc_info=error)
                await asyncio.sleep(LOOK)
        finally:
            await self._tasks.cancel()

    def _follow(self, catalog: Catalog) -> None:
        wanted = {record.id for record in catalog.of_kind(ProxyServer.kind) if record.item.enabled}
        self._watched = {id: task for id, task in self._watched.items() if not task.done()}
        for id in sorted(self._watched.keys() - wanted):
            self._watched.pop(id).cancel()
        for id in sorted(wanted - self._watched.keys()):
            self._watched[id] = self._tasks.spawn(self._watch(id), f"events {id}")

    async def _watch(self, id: str) -> None:
        failures, said = 0, ""
        while True:
            try:
                await self._collect(id)
                failures, said = 0, ""
                continue
            except UspError as error:
                if error.code != said and failures:  # a server that restarts is no news
                    said = error.code
                    log.warn("events.not_collected", server=id, exc_info=error)
            await asyncio.sleep(backoff.delay(failures, self._random(), INITIAL, MAXIMUM))
            failures += 1

    async def _collect(self, id: str) -> None:
        """Fetch once, and store all that came."""
        catalog = await self._store.items.read()
        record = catalog.records.get(id)
        if record is None or not self._holds(record.item.name):
            await asyncio.sleep(LOOK)
            return
        name = record.item.name
        known = await self._store.trails.newest(name)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        lines = await self._controls.events(Endpoint.of(catalog, record), known or Link(name, ""), PATIENCE)
        if not lines and loop.time() - asked < QUIET:
            await asyncio.sleep(QUIET)
        for chain in chains(name, lines):
            for start in range(0, len(chain), SLICE):
                count = await self._store.trails.take(chain[start : start + SLICE], self._clock())
                EVENTS_TOTAL.inc(count)


def chains(server: str, lines: Sequence[bytes]) -> Iterator[list[tuple[Event, str]]]:
    """The lines as events, those of one chain together. What is none of that server's is told to the log."""
    found: list[tuple[Event, str]] = []
    for line in lines:
        made = event(server, line)
        if made is None:
            log.error("events.damaged", server=server, line=line[:200].decode("utf-8", "replace"))
        elif found and found[-1][0].chain != made[0].chain:
            yield found
            found = [made]
        else:
            found.append(made)
    if found:
        yield found


def event(server: str, line: bytes) -> tuple[Event, str] | None:
    """The line as an event, and its hash."""
    link = read(line)
    if link is None or link.server != server:
        return None
    try:
        detail: dict[str, Any] = orjson.loads(line)
        at = datetime.fromisoformat(detail["time"])
    except (ValueError, KeyError, TypeError):
        return None

    def text(name: str, length: int) -> str:
        value = detail.get(name, "")
        return value[:length].replace("\0", "") if isinstance(value, str) else ""  # PostgreSQL takes no NUL

    made = Event(
        at=at if at.tzinfo else at.replace(tzinfo=UTC),
        author=text("username", 255),
        action=text("event", 60) or "?",
        target=text("path", 300),
        peer=text("peer", 64),
        detail=detail,
        server=server,
        listener=text("listener", 255),
        session=text("session", 64),
        outcome=text("outcome", 40),
        chain=link.chain,
        seq=link.seq,
    )
    return made, link.hash


async def keep(store: Store, settings: EventSettings, holder: str, clock: Callable[[], datetime]) -> None:
    """Forget what is old, in small steps; one manager at a time does."""
    for source, days in ((Source.SERVER, settings.days), (Source.MANAGER, settings.administration_days)):
        if not days:
            continue
        before = clock() - timedelta(days=days)
        while await store.leases.take(KEEPING, holder, timedelta(minutes=1)) is not None:
            if not await store.events.forget(source, before):
                break
            await asyncio.sleep(0.05)  # others want the database, too
