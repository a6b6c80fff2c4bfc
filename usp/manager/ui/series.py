"""What the Dashboard's charts show: the last hour of all servers, a point every ten seconds.

The points are in the store. Whichever manager comes first writes the one of now, and all read them, so all show the
same, also those that were started a moment ago.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from usp.errors import UspError
from usp.log import get_logger
from usp.manager.app import App
from usp.manager.store.rows import Server
from usp.manager.ui.ledger import ENDED, LENGTH, Ledger

log = get_logger(__name__)

PERIOD: Final = 10.0
KEPT: Final = 360
"""Points: an hour."""
FRESH: Final = 30.0
"""A report that is older tells nothing of now."""
BATCH: Final = 1000
BATCHES: Final = 20
"""So many batches of events are read in one look."""


@dataclass(frozen=True, slots=True)
class Count:
    """Of one server, counted since it started. `boot` changes with every start."""

    boot: str
    bytes_in: int
    bytes_out: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Point:
    at: float
    counts: Mapping[str, Count]


class Series:
    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=KEPT)

    @property
    def last(self) -> int:
        """The number of the last point: its moment, in periods."""
        return round(self.points[-1].at / PERIOD) if self.points else 0

    def add(self, number: int, counts: Mapping[str, Any]) -> None:
        found = {name: Count(*values) for name, values in counts.items()}
        self.points.append(Point(number * PERIOD, found))

    def of(self, server: str = "") -> dict[str, list[Any]]:
        """For uPlot: times, sessions, bytes per second from partners and to them; of one server, or of all. Null where
        nobody knows."""
        found: dict[str, list[Any]] = {"at": [], "sessions": [], "in": [], "out": []}
        before: Point | None = None
        for point in self.points:
            names = [name for name in point.counts if server in ("", name)]
            rates = [rate for name in names if (rate := _rate(before, point, name)) is not None]
            found["at"].append(round(point.at))
            found["sessions"].append(sum(point.counts[name].sessions for name in names) if names else None)
            found["in"].append(round(sum(rate[0] for rate in rates)) if rates else None)
            found["out"].append(round(sum(rate[1] for rate in rates)) if rates else None)
            before = point
        return found


def _rate(before: Point | None, point: Point, name: str) -> tuple[float, float] | None:
    """Bytes per second in and out; None when the server was not seen, or started meanwhile."""
    old, new = before.counts.get(name) if before else None, point.counts[name]
    if before is None or old is None or old.boot != new.boot or point.at <= before.at:
        return None
    seconds = point.at - before.at
    return max(0, new.bytes_in - old.bytes_in) / seconds, max(0, new.bytes_out - old.bytes_out) / seconds


def counted(servers: Mapping[str, Server]) -> dict[str, Any]:
    """What those have counted of which something is known: the fields of a Count, by server."""
    return {
        name: [server.report.boot, server.report.bytes_in, server.report.bytes_out, server.report.sessions]
        for name, server in servers.items()
        if server.report is not None and server.age is not None and server.age < FRESH
    }


async def look(app: App, series: Series) -> None:
    """Write the point of now, unless another manager has, and read what is new."""
    now = int(app.clock().timestamp() / PERIOD)
    known = max(series.last, now - KEPT)
    fresh = await app.store.points.after(known)
    if not any(number == now for number, _ in fresh) and known < now:
        await app.store.points.add(now, counted(await app.store.servers.all()), keep=KEPT)
        fresh = await app.store.points.after(known)
    for number, counts in fresh:
        series.add(number, counts)


async def watch(app: App, series: Series, ledger: Ledger) -> None:
    """Until cancelled."""
    while True:
        try:
            await look(app, series)
            await follow(app, ledger)
        except UspError as error:
            log.debug("series.gap", reason=error.message)
        await asyncio.sleep(PERIOD)


async def follow(app: App, ledger: Ledger) -> None:
    """Into the ledger, what has ended since."""
    now = app.clock()
    if ledger.number is None:
        oldest = await app.store.events.page(after=0, limit=1, since=now - LENGTH)
        newest = await app.store.events.page(limit=1)
        ledger.number = oldest[0].number - 1 if oldest else newest[0].number if newest else 0
    for _ in range(BATCHES):  # the rest with the next look
        events, number = await app.store.events.since(ledger.number, BATCH, action=ENDED)
        ledger.add(events, now)
        ledger.number = number
        if len(events) < BATCH:
            return
