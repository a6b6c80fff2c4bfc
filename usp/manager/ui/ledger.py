"""Who moved how much within the last hour: what sessions had moved when they ended, by partner and minute, and what
those that are live have moved up to now. Pure.

It follows the events in the store, so it knows what any server told any manager.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from usp.manager.store.rows import Event
from usp.status import SessionStatus

ENDED: Final = "session.ended"
LENGTH: Final = timedelta(hours=1)
MINUTE: Final = 60


@dataclass(slots=True)
class Moved:
    """By one partner: sessions, bytes from the partner and to them."""

    name: str
    sessions: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def bytes(self) -> int:
        return self.bytes_in + self.bytes_out

    def add(self, sessions: int, bytes_in: int, bytes_out: int) -> None:
        self.sessions += sessions
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out


class Ledger:
    """`number`: of the last event that is in it; None before the first."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._minutes: dict[int, dict[str, Moved]] = {}

    def add(self, events: Iterable[Event], now: datetime) -> None:
        """Those that ended of late; what is older than an hour goes."""
        oldest = _minute(now - LENGTH)
        for event in events:
            if event.author and (minute := _minute(event.at)) >= oldest:
                of_minute = self._minutes.setdefault(minute, {})
                moved = of_minute.setdefault(event.author, Moved(event.author))
                moved.add(1, _count(event, "bytes_in"), _count(event, "bytes_out"))
        for minute in [minute for minute in self._minutes if minute < oldest]:
            del self._minutes[minute]

    def top(self, most: int, live: Iterable[SessionStatus] = ()) -> list[Moved]:
        """Who moved most bytes, in the sessions that ended and in those."""
        found: dict[str, Moved] = {}
        for of_minute in self._minutes.values():
            for each in of_minute.values():
                found.setdefault(each.name, Moved(each.name)).add(each.sessions, each.bytes_in, each.bytes_out)
        for session in live:
            if session.username:
                moved = found.setdefault(session.username, Moved(session.username))
                moved.add(1, session.bytes_in, session.bytes_out)
        return sorted(found.values(), key=lambda each: (-each.bytes, -each.sessions, each.name))[:most]


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // MINUTE


def _count(event: Event, name: str) -> int:
    value = event.detail.get(name)
    return value if isinstance(value, int) else 0
