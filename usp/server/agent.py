"""The port for a load balancer's agent checks: one connection, one line of advice (usp.server.advice).

HAProxy connects, sends what `agent-send` says (a Listener's name; or nothing: it is about the whole server), reads one
line, and closes. Nothing else is understood, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from usp import tasks
from usp.errors import UspError
from usp.settings import AgentSettings

PATIENCE: Final = 0.2
"""Seconds for a question to arrive; who asks nothing waits so long."""
LONGEST: Final = 260
"""Bytes of a question: a name and the end of the line."""
MAX_ASKING: Final = 64
DEADLINE: Final = 5.0


class Agent:
    """Serves until `close`. `advice(name)` is the line, without its end."""

    def __init__(self, settings: AgentSettings, advice: Callable[[str], str]) -> None:
        self._settings = settings
        self._advice = advice
        self._server: asyncio.Server | None = None
        self._asking = tasks.TaskSet()

    async def start(self) -> None:
        """Listen, unless the settings switch it off. UspError listener.unbindable."""
        address, port = self._settings.address, self._settings.port
        if port == 0:
            return
        try:
            self._server = await asyncio.start_server(self._asked, address, port, limit=LONGEST, backlog=MAX_ASKING)
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"cannot listen on agent address {address}:{port}: {reason}"
            raise UspError("listener.unbindable", message) from None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._asking.cancel()

    def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._asking) >= MAX_ASKING:
            writer.transport.abort()
            return
        self._asking.spawn(self._answer(reader, writer), "agent check")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                writer.write(f"{self._advice(await _question(reader))}\n".encode())
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


async def _question(reader: asyncio.StreamReader) -> str:
    """The name that is asked about; "" if none came in time, or something else did."""
    nothing = (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
    with contextlib.suppress(*nothing):
        async with asyncio.timeout(PATIENCE):
            return (await reader.readuntil(b"\n")).decode().strip()
    return ""
