"""Tickets: what a browser keeps for us between two requests, such as half a login. Sealed by the vault, so that nobody
reads, makes or changes one, and any manager opens what another one gave out. Each is for one purpose, and for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from usp.errors import UspError
from usp.manager.store.store import Store

MAX_TEXT: Final = 4000  # what a cookie holds


class Tickets:
    """`clock` gives the time in UTC."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def seal(self, purpose: str, facts: Mapping[str, Any], seconds: float) -> str:
        until = self._clock() + timedelta(seconds=seconds)
        return self._store.seal(orjson.dumps({**facts, "until": until.timestamp()}), _place(purpose))

    async def open(self, purpose: str, text: str) -> Mapping[str, Any] | None:
        """None: it is none of ours, for something else, or too old."""
        if not text or len(text) > MAX_TEXT or not text.isascii():
            return None
        try:
            facts = orjson.loads(await self._store.unseal(text, _place(purpose)))
        except UspError as error:
            if error.code != "vault.damaged":
                raise
            return None
        assert isinstance(facts, dict)
        return facts if self._clock().timestamp() < facts.pop("until") else None


def _place(purpose: str) -> str:
    return f"ticket:{purpose}"
