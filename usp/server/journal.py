"""The journal: facts for the audit log on a worker's way to the supervisor, several in one packet.

A packet and a wake-up of the supervisor for each fact would cost more than a small file's transfer. So lines wait for
others, a twentieth of a second at most, and go along with what else is said of a session (`taken`). When the supervisor
does not keep up, facts are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from usp.server.audit import JsonValue
from usp.server.messages import Events

DELAY: Final = 0.05
"""Seconds that a line waits for others."""
FULL: Final = 16 << 10
"""Bytes that do not wait any longer."""
LONGEST: Final = 48 << 10
"""Bytes of a line at most: it must fit a packet, whatever JSON adds to it there."""


class Journal:
    """`post` takes what the supervisor is to hear; `full` says that it does not keep up."""

    def __init__(self, post: Callable[[Events], object], full: Callable[[], bool]) -> None:
        self.dropped = 0
        self._post = post
        self._full = full
        self._loop = asyncio.get_running_loop()
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, facts: Mapping[str, JsonValue]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        line = orjson.dumps({"time": now, **facts}).decode()
        if self._full() or len(line) > LONGEST:
            self.dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FULL:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(DELAY, self.flush)

    def tell_dropped(self) -> int:
        """How many were, in the audit log too, once there is room to say so."""
        if not self.dropped or self._full():
            return 0
        count, self.dropped = self.dropped, 0
        self.tell({"event": "audit.dropped", "sink": "supervisor", "count": count})
        return count

    def flush(self) -> None:
        """Send what waits."""
        for events in self.taken():
            self._post(events)

    def taken(self) -> tuple[Events, ...]:
        """What waits, to be sent before something else and in the same packet."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._size = self._lines, [], 0
        return (Events(lines=tuple(lines)),) if lines else ()
