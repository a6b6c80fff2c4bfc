"""A load balancer in front of a target: it takes connections with a PROXY header only, and remembers what they said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests import tunnel_pair
from usp.server.proxy import Bad, Header, parse


@dataclass
class Balancer:
    """`sources`: of the headers, None of those who spoke for themselves; `wrong`: why others were refused."""

    port: int = 0
    sources: list[tuple[str, int] | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@asynccontextmanager
async def balancer(target: int) -> AsyncIterator[Balancer]:
    """In front of this port."""
    made = Balancer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await _header(reader)
        if isinstance(found, Bad):
            made.wrong.append(found.reason)
            return
        made.sources.append(found.source)
        behind, onward = await asyncio.open_connection("127.0.0.1", target)
        try:
            await asyncio.gather(_copy(reader, onward), _copy(behind, writer))
        finally:
            onward.close()

    async with tunnel_pair.target(serve) as made.port:
        yield made


async def _header(reader: asyncio.StreamReader) -> Header | Bad:
    data = b""
    while (found := parse(data)) is None:
        got = await reader.read(1)
        if not got:
            return Bad("it went")
        data += got
    return found


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
