"""Windows of time: when a policy lets partners read only, or begin nothing.

They are kept by the clocks on the wall of their time zone, so in spring and autumn they are an hour shorter or longer
if the change is within them. Which one is in force is found out once a minute, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from usp.policy import Day, Window, WindowAccess

_DAYS: Final = tuple(Day)


class Windows:
    def __init__(self, windows: Iterable[Window]) -> None:
        strictest_first = sorted(windows, key=lambda window: window.access is not WindowAccess.CLOSED)
        self._windows = [(window, ZoneInfo(window.timezone)) for window in strictest_first]
        self._minute = -1
        self._found: Window | None = None

    def objection(self, *, writes: bool, now: float) -> str:
        """What is wrong with it at that time (Unix), whether it `writes` or not; empty: nothing."""
        window = self.in_force(now)
        if window is None or (window.access is WindowAccess.READ_ONLY and not writes):
            return ""
        word = "closed" if window.access is WindowAccess.CLOSED else "read-only"
        return f"{word} from {window.start} to {window.end} ({window.timezone})"

    def in_force(self, now: float) -> Window | None:
        """The strictest one that holds then."""
        minute = int(now // 60)
        if minute != self._minute:
            holds = (window for window, zone in self._windows if _holds(window, datetime.fromtimestamp(now, zone)))
            self._minute, self._found = minute, next(holds, None)
        return self._found


def _holds(window: Window, local: datetime) -> bool:
    time, today, yesterday = local.strftime("%H:%M"), local.weekday(), local.weekday() - 1
    if window.start < window.end:
        return _on(window, today) and window.start <= time < window.end
    return (_on(window, today) and time >= window.start) or (_on(window, yesterday) and time < window.end)


def _on(window: Window, weekday: int) -> bool:
    return not window.days or _DAYS[weekday] in window.days
