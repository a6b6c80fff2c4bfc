"""The audit trail of this server: each line gets its place in the chain, and goes to the file (or standard output), to
the managers, who fetch it, and to syslog.

It is all in memory, so nothing waits for a slow reader: what a reader does not take is dropped for it alone and
counted, and the count is itself an event, once there is room. When the server starts again the chain goes on from the
file's last line, and the managers' spool is filled from the file. Without a file each start begins a chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import orjson

from usp import __version__
from usp.chain import STOPPED, Chain, Link, read
from usp.log import get_logger
from usp.logfile import REST
from usp.metrics import AUDIT_DROPPED_TOTAL
from usp.server.spool import Spool

log = get_logger(__name__)

TAIL: Final = 4 << 20
"""Bytes at the end of the file that are read at the start."""
PAUSE: Final = 10.0
"""Seconds between events about lines that were dropped."""
GOODBYE: Final = 2.0
"""Seconds that managers get to fetch the last lines."""
PACE: Final = 0.25
"""Seconds from one answer to a manager who waits to the next, so that under load each has many lines in it: an HTTP
request for every line would cost as much as the login that it tells of."""
BEHIND: Final = 500
"""With so many lines to fetch, a manager is not made to wait."""
SETTLED: Final = 2 * REST
"""Seconds after which the file has a line that waits. Managers get lines that it has: if this process is killed, the
next one goes on behind the file's last line, with numbers that they must not know yet."""
RECENT: Final = 60.0
"""A manager that has not asked for so long does not come for the last lines."""

FILE: Final = "file"
MANAGERS: Final = "managers"
SYSLOG: Final = "syslog"


class Sink(Protocol):
    """What takes lines without waiting; `dropped` counts those that it could not keep."""

    dropped: int

    def put(self, line: bytes) -> object: ...


class File(Sink, Protocol):
    @property
    def queued(self) -> int:
        """Lines that wait for their turn."""
        ...


@dataclass(frozen=True, slots=True)
class Before:
    """What the audit log holds already."""

    last: Link
    lines: tuple[bytes, ...] = ()  # the last ones of its chain
    torn: bool = False  # its last line has no end


def before(path: str, server: str, new_id: Callable[[], str]) -> Before:
    """Where to go on: behind the file's last line, or with a new chain."""
    fresh = Before(Link(server, new_id()))
    if not path:
        return fresh
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            tail = file.read()
    except FileNotFoundError:
        return fresh
    torn = not tail.endswith(b"\n") and bool(tail)
    lines = [line for line in tail.split(b"\n")[: -1 if tail else None] if line]
    links = [(line, link) for line in lines if (link := read(line)) is not None and link.server == server]
    if not links:
        return Before(fresh.last, torn=torn)
    last = links[-1][1]
    followed: list[bytes] = []
    for line, link in reversed(links):
        if link.chain != last.chain or link.seq != last.seq - len(followed):
            break
        followed.append(line)
    return Before(last, tuple(reversed(followed)), torn)


class Trail:
    def __init__(self, file: File, spool: Spool, found: Before, syslog: Sink | None = None) -> None:
        self._file = file
        self._spool = spool
        self._syslog = syslog
        self._chain = Chain(found.last)
        self._loop = asyncio.get_running_loop()
        self._told = Counter[str]()
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._emptied = asyncio.Event()
        self._fetched: float | None = None
        self._answered = -PACE
        self._ending = asyncio.Event()
        self._closing = False
        spool.begin(found.last.seq + 1 - len(found.lines))
        for line in found.lines:
            spool.add(line)
        spool.dropped = 0  # managers may well have those
        if found.torn:
            file.put(b"\n")
        self.tell("audit.started", version=__version__, resumed=found.last.seq > 0)

    def put(self, line: str) -> None:
        """A line: a JSON object, without secrets."""
        self._append(line)
        if self._timer is None and self._lost() > self._told.total():
            self._timer = self._loop.call_later(PAUSE, self._tell_dropped)

    def tell(self, event: str, **facts: str | int | bool) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        self._append(orjson.dumps({"time": now, "event": event, **facts}).decode())

    async def fetch(self, stored: Link, size: int, patience: float) -> list[bytes]:
        """The oldest lines that managers do not have: `stored` is the last one that they have. With none, after
        `patience` seconds."""
        self._fetched = self._loop.time()
        if stored.chain == self._chain.last.chain:
            self._spool.stored(stored.seq)
            if not self._spool:
                self._emptied.set()
        if patience and not self._closing:
            await self._pace(patience)
            if not self._spool:
                self._news.clear()
                await _within(patience, self._news)
            self._fetched = self._answered = self._loop.time()
        lines = self._spool.batch(size)
        if lines and self._file.queued:
            await asyncio.sleep(SETTLED)
        return lines

    async def stop(self) -> None:
        """Say that it ends; managers that are there get it."""
        if self._timer is not None:
            self._tell_dropped()
        self.tell(STOPPED)
        self._ending.set()
        recently = self._fetched is not None and self._fetched > self._loop.time() - RECENT
        if recently and self._spool:
            await _within(GOODBYE, self._emptied)
        self._closing = True
        self._news.set()

    async def _pace(self, patience: float) -> None:
        """Wait for the turn of the next answer, unless there is much to fetch, or the end is near."""
        rest = min(self._answered + PACE - self._loop.time(), patience)
        if rest > 0 and len(self._spool) < BEHIND:
            await _within(rest, self._ending)

    def _append(self, line: str) -> None:
        linked = self._chain.link(line)
        self._file.put(linked + b"\n")
        self._spool.add(linked)
        self._news.set()
        self._emptied.clear()
        if self._syslog is not None:
            self._syslog.put(linked)

    def _lost(self) -> int:
        return self._file.dropped + self._spool.dropped + (self._syslog.dropped if self._syslog else 0)

    def _dropped(self) -> Counter[str]:
        counted = Counter({FILE: self._file.dropped, MANAGERS: self._spool.dropped})
        if self._syslog is not None:
            counted[SYSLOG] = self._syslog.dropped
        return +counted

    def _tell_dropped(self) -> None:
        """What has been dropped since the last time."""
        self._timer = None
        news = self._dropped() - self._told
        for sink, count in news.items():
            AUDIT_DROPPED_TOTAL.labels(sink).inc(count)
            log.error("audit.dropped", sink=sink, count=count)
            self.tell("audit.dropped", sink=sink, count=count)
        self._told += news


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Until it is set, or so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
