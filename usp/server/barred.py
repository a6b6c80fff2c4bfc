"""User names under a penalty, as a worker knows them from the supervisor's ledger. Pure and bounded."""

from __future__ import annotations

from typing import Final

MAX_BARRED: Final = 10_000


class Barred:
    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def set(self, username: str, until: float) -> None:
        """Barred until then; a time that has passed releases it."""
        self._until.pop(username, None)
        self._until[username] = until
        if len(self._until) > MAX_BARRED:
            del self._until[next(iter(self._until))]

    def holds(self, username: str, now: float) -> bool:
        return self._until.get(username, now) > now
