"""The board: what Status shows, kept by one look at the store twice a second at most, however many watch.

Each look that finds something new gets a number, and each row the number of the look that changed it: who has seen
number 7 is told what changed after it. While the database is away, the last picture stays, and says so.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from usp.errors import Kind, UspError
from usp.manager.app import App
from usp.manager.catalog import Catalog
from usp.manager.diff import Due
from usp.manager.store.rows import Server
from usp.manager.ui.overview import Row, Totals, row, totals
from usp.model import ProxyServer

PERIOD: Final = 0.5
"""Seconds between looks."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`changed`: id -> the number of the look that changed its row; `arranged`: when a server came or went; `told`:
    when what stands above the rows changed; `away`: why the database cannot be asked."""

    number: int
    rows: tuple[Row, ...]
    changed: Mapping[str, int]
    arranged: int
    totals: Totals
    told: int
    away: str = ""

    def after(self, number: int) -> list[Row]:
        return [each for each in self.rows if self.changed[each.id] > number]


NOTHING: Final = Picture(0, (), {}, 0, totals(()), 0)


class Board:
    def __init__(self, app: App, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.epoch = secrets.token_hex(4)
        """Numbers of another process, or of an earlier start, mean nothing here."""
        self._app = app
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._picture = NOTHING
        self._looked = -PERIOD
        self._due: dict[str, tuple[tuple[int, int], Due]] = {}

    async def look(self) -> Picture:
        """The picture, at most PERIOD old. UspError database.unavailable when there is none yet."""
        async with self._lock:
            if self._monotonic() - self._looked >= PERIOD:
                try:
                    found = await self._seen()
                except UspError as error:
                    if error.kind is not Kind.UNAVAILABLE or self._picture is NOTHING:
                        raise
                    self._picture = replace(self._picture, away=error.message)
                else:
                    self._picture = following(self._picture, found)
                self._looked = self._monotonic()
            return self._picture

    def stale(self) -> None:
        """Something was written: the next look asks at once."""
        self._looked = -PERIOD

    async def _seen(self) -> tuple[Row, ...]:
        catalog = await self._app.catalog()
        known, run_states = await self._app.store.servers.all(), await self._app.store.servers.run_states()
        found = []
        for record in catalog.of_kind(ProxyServer.kind):
            server = known.get(record.item.name) or Server(record.item.name)
            due = await self._is_due(catalog, server)
            found.append(row(catalog, record, server, run_states, due))
        return tuple(found)

    async def _is_due(self, catalog: Catalog, server: Server) -> Due:
        """Looked up once for each version of the catalog and of the server: compiling takes a while."""
        key = (catalog.revision, server.desired)
        known = self._due.get(server.name)
        if known is None or known[0] != key:
            known = self._due[server.name] = (key, await self._app.pushes.due(catalog, server))
        return known[1]


def following(before: Picture, rows: tuple[Row, ...]) -> Picture:
    """The next picture: the same number when nothing changed that is shown."""
    number = before.number + 1
    old = {each.id: each for each in before.rows}
    changed = {each.id: before.changed[each.id] if old.get(each.id) == each else number for each in rows}
    same = [each.id for each in rows] == [each.id for each in before.rows]
    summed = totals(rows)
    told = before.told if summed == before.totals and before.number else number
    new = not same or told == number or number in changed.values()
    return Picture(
        number=number if new else before.number,
        rows=rows,
        changed=changed,
        arranged=before.arranged if same and before.number else number,
        totals=summed,
        told=told,
    )
