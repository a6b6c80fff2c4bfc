"""A bell that several tasks may wait for: ringing wakes all that wait, and is forgotten by who comes later.

It may be rung for one server: then it wakes those who wait for that server, or for anything. With many servers, to wake
everybody for each of them would be most of what a manager does.
"""

from __future__ import annotations

import asyncio
from typing import Final

ANY: Final = ""


class Bell:
    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], str] = {}  # woken in the order in which they came

    def ring(self, server: str = ANY) -> None:
        for waiter, heard in self._waiters.items():
            if not waiter.done() and (server == ANY or heard in (ANY, server)):
                waiter.set_result(None)

    async def wait(self, timeout: float, server: str = ANY) -> bool:
        """Whether it rang within `timeout` seconds: for this server, or for all; ANY hears everything."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = server
        try:
            done, _ = await asyncio.wait({waiter}, timeout=timeout)
            return bool(done)
        finally:
            del self._waiters[waiter]
