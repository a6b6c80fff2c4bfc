"""An answer that is shared: asked for once in a while, however many pages want it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from usp.errors import UspError
from usp.tasks import spawn

T = TypeVar("T")


class Recent(Generic[T]):
    """What `ask` answered, at most `seconds` old. A failure is not kept."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._found: tuple[T, float] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> T:
        async with self._lock:
            if self._found is None or self._monotonic() - self._found[1] >= self._seconds:
                self._found = (await self._ask(), self._monotonic())
            return self._found[0]

    async def within(self, seconds: float) -> T | None:
        """The same, for who does not wait for long: what was answered last, if anything was, when it takes longer or
        fails. It is asked for all the same."""
        if self._asking is None or self._asking.done():
            self._asking = spawn(self._ask_anew(), "asking anew")
        await asyncio.wait({self._asking}, timeout=seconds)
        return self._found[0] if self._found else None

    async def _ask_anew(self) -> None:
        with suppress(UspError):
            await self.get()

    def forget(self) -> None:
        """Something was written: ask anew."""
        self._found = None
