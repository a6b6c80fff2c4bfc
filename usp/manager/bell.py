"""A bell that several tasks may wait for: ringing wakes all that wait, and is forgotten by who comes later."""

from __future__ import annotations

import asyncio


class Bell:
    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}  # woken in the order in which they came

    def ring(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """Whether it rang within `timeout` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            done, _ = await asyncio.wait({waiter}, timeout=timeout)
            return bool(done)
        finally:
            del self._waiters[waiter]
