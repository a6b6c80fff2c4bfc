"""A TCP proxy that loses the connection at a chosen message of the client's, and serves the next connection again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from usp import tasks


class Lost(StrEnum):
    REQUEST = "request"  # the message does not reach the server
    ANSWER = "answer"  # it does, and what the server answers never comes back


class Proxy:
    """`port` leads to the server. `cut_at(n, lost)`: the n-th message from now on is the last of its connection; with
    `for_long` of all, until `heal`."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._left = 0
        self._lost = Lost.REQUEST
        self._for_long = self._down = False
        self.port = 0
        self._tasks = tasks.TaskSet()

    def cut_at(self, number: int, lost: Lost, *, for_long: bool = False) -> None:
        self._left, self._lost, self._for_long = number, lost, for_long

    @property
    def has_cut(self) -> bool:
        return self._left == 0

    def heal(self) -> None:
        self._left, self._down = 0, False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.close()
            return
        back_reader, back_writer = await asyncio.open_connection(*self._to)
        answers = self._tasks.spawn(_copy(back_reader, writer), "answers")
        try:
            while data := await reader.read(1 << 20):
                if self._left == 1:
                    self._left, self._down = 0, self._for_long
                    await self._cut(data, back_reader, back_writer, answers)
                    return
                self._left = max(0, self._left - 1)
                back_writer.write(data)
                await back_writer.drain()
        except OSError:
            pass
        finally:
            answers.cancel()
            writer.close()
            back_writer.close()

    async def _cut(
        self,
        data: bytes,
        back_reader: asyncio.StreamReader,
        back_writer: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        answers.cancel()
        await asyncio.wait([answers])
        if self._lost is Lost.ANSWER:
            back_writer.write(data)
            await back_reader.read(1 << 20)  # the server has done it

    async def close(self) -> None:
        await self._tasks.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    made = Proxy(host, port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
