"""Lines that wait in memory until a manager has stored them. When it is full the oldest go, and are counted."""

from __future__ import annotations

from collections import deque


class Spool:
    def __init__(self, size: int) -> None:
        """`size`: bytes at the most; 0 keeps nothing."""
        self.dropped = 0
        self._room = size
        self._lines: deque[bytes] = deque()
        self._first = 1  # number of the first line

    def __len__(self) -> int:
        return len(self._lines)

    def begin(self, seq: int) -> None:
        """The first line will have this number."""
        self._first = seq

    def add(self, line: bytes) -> None:
        """The next line."""
        self._lines.append(line)
        self._room -= len(line)
        while self._room < 0:
            self._take()
            self.dropped += 1

    def stored(self, seq: int) -> None:
        """Managers have all lines up to this number."""
        while self._lines and self._first <= seq:
            self._take()

    def batch(self, size: int) -> list[bytes]:
        """The oldest lines: `size` bytes, or at least one."""
        found: list[bytes] = []
        for line in self._lines:
            size -= len(line)
            if found and size < 0:
                break
            found.append(line)
        return found

    def _take(self) -> None:
        self._room += len(self._lines.popleft())
        self._first += 1
