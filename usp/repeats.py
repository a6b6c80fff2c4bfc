"""Lines of a log that say the same again and again: the first ones of a window are told, the rest are counted.

A line has a *key*: its event, and what tells it from other lines of that event (a code, a listener). `PER_KEY` lines of
a key are told in `WINDOW` seconds, and `PER_EVENT` of all keys of an event together, since strangers may have a hand in
what a key says. What is held back is summed up in one line when the window is over: nothing is lost silently, and a
flood costs memory and disk for a bounded number of lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PER_KEY: Final = 10
PER_EVENT: Final = 100
WINDOW: Final = 10.0


@dataclass(frozen=True, slots=True)
class Key:
    """`told` are the fields that tell it from other lines, as they are written; none of them: any line of the event."""

    level: str
    event: str
    told: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Window:
    until: float
    lines: int = 0
    held: int = 0


class Repeats:
    def __init__(self, per_key: int = PER_KEY, per_event: int = PER_EVENT, window: float = WINDOW) -> None:
        self._per_key = per_key
        self._per_event = per_event
        self._window = window
        self._keys: dict[Key, _Window] = {}
        self._events: dict[Key, _Window] = {}
        self._over: dict[Key, int] = {}

    def holds(self, key: Key, now: float) -> bool:
        """Whether this line is one too many; then it is counted."""
        event = self._current(self._events, Key(key.level, key.event), now)
        if event.lines >= self._per_event:
            event.held += 1
            return True
        this = self._current(self._keys, key, now)
        if this.lines >= self._per_key:
            this.held += 1
            return True
        this.lines += 1
        event.lines += 1
        return False

    def due(self, now: float) -> dict[Key, int]:
        """Whose window is over and had lines held back, and how many. Each is answered once."""
        for windows in (self._keys, self._events):
            for key in [key for key, window in windows.items() if now >= window.until]:
                self._end(windows, key)
        over, self._over = self._over, {}
        return over

    def _current(self, windows: dict[Key, _Window], key: Key, now: float) -> _Window:
        if key in windows and now >= windows[key].until:
            self._end(windows, key)
        return windows.setdefault(key, _Window(now + self._window))

    def _end(self, windows: dict[Key, _Window], key: Key) -> None:
        if held := windows.pop(key).held:
            self._over[key] = self._over.get(key, 0) + held
