"""What the Dashboard's charts show: the last hour of all servers, a point every ten seconds.

Every manager makes it for itself from what is in the store, which has what any manager saw, so all show the same. It
is kept in memory: after a restart of the manager it begins anew, and the page says since when it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from usp.errors import UspError
from usp.log import get_logger
from usp.manager.app import App
from usp.manager.store.rows import Server

log = get_logger(__name__)

PERIOD: Final = 10.0
KEPT: Final = 360
"""Points: an hour."""
FRESH: Final = 30.0
"""A report that is older tells nothing of now."""


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

    def add(self, now: datetime, servers: Mapping[str, Server]) -> None:
        self.points.append(
            Point(
                now.timestamp(),
                {
                    name: Count(
                        server.report.boot, server.report.bytes_in, server.report.bytes_out, server.report.sessions
                    )
                    for name, server in servers.items()
                    if server.report is not None and server.age is not None and server.age < FRESH
                },
            )
        )

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


async def watch(app: App, series: Series) -> None:
    """Until cancelled."""
    while True:
        try:
            series.add(app.clock(), await app.store.servers.all())
        except UspError as error:
            log.debug("series.gap", reason=error.message)
        await asyncio.sleep(PERIOD)
