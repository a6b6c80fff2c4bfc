"""An ICAP server for tests, that does what a real one would not do on demand: stall, answer early, break off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from usp.scan import Scan

CLEAN = b"ICAP/1.0 204 Unmodified\r\n\r\n"
INFECTED = b"ICAP/1.0 200 OK\r\nX-Virus-ID: Evil\r\nEncapsulated: null-body=0\r\n\r\n"
GO_ON = b"ICAP/1.0 100 Continue\r\n\r\n"


class Request:
    """One request that was accepted: `read` takes chunks of the file until the end of it, or of the preview."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self._reader, self._writer = reader, writer

    async def chunk(self) -> bytes:
        size = (await self._reader.readuntil(b"\r\n")).split(b";")[0]
        data = await self._reader.readexactly(int(size, 16))
        await self._reader.readexactly(2)
        return data

    async def read(self) -> bytes:
        data = b""
        while more := await self.chunk():
            data += more
        return data

    def write(self, data: bytes) -> None:
        self._writer.write(data)


Answer = Callable[[Request], Awaitable[None]]


class IcapServer:
    """`answer` serves each request; `options`: what it says of itself. `seen`: what it was asked for."""

    def __init__(self, answer: Answer, options: str) -> None:
        self.answer = answer
        self.options = options
        self.seen: list[str] = []
        self.port = 0

    def scan(self, **fields: object) -> Scan:
        return Scan.model_validate({"url": f"icap://127.0.0.1:{self.port}/av", **fields}, strict=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method = head.split(b" ")[0].decode()
            self.seen.append(method)
            if method == "OPTIONS":
                text = f"ICAP/1.0 200 OK\r\n{self.options}Encapsulated: null-body=0\r\n\r\n"
                writer.write(text.encode())
            else:
                found = re.search(rb"req-body=(\d+)", head)
                assert found
                await reader.readexactly(int(found[1]))
                await self.answer(Request(head, reader, writer))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving_icap(answer: Answer, options: str = "Methods: REQMOD\r\n") -> AsyncIterator[IcapServer]:
    made = IcapServer(answer, options)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=1 << 16)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


async def clean(request: Request) -> None:
    await request.read()
    request.write(CLEAN)


async def infected(request: Request) -> None:
    await request.read()
    request.write(INFECTED)
