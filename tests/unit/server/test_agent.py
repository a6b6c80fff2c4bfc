from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from tests.unit.server.support import LOOPBACK, free_port
from usp.errors import UspError
from usp.server import agent
from usp.server.agent import Agent
from usp.settings import AgentSettings


@contextlib.asynccontextmanager
async def serving(advice: Callable[[str], str]) -> AsyncIterator[int]:
    port = free_port()
    made = Agent(AgentSettings(address=LOOPBACK, port=port), advice)
    await made.start()
    try:
        yield port
    finally:
        await made.close()


async def ask(port: int, question: bytes | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        if question is not None:
            writer.write(question)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_one_line_about_what_is_asked() -> None:
    async with serving(lambda name: f"about {name or 'all'}") as port:
        assert await ask(port, b"partners\r\n") == b"about partners\n"
        assert await ask(port) == b"about all\n"


@pytest.mark.parametrize("question", [b"x" * 5000, b"\xff\xfe\n", b"no end of line"])
async def test_what_is_no_name_asks_nothing(question: bytes) -> None:
    async with serving(lambda name: name or "all") as port:
        with contextlib.suppress(ConnectionResetError):  # it was not read to its end
            assert await ask(port, question) == b"all\n"
        assert await ask(port, b"l\n") == b"l\n", "and it serves on"


async def test_who_hangs_up_or_says_nothing_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MAX_ASKING", 2)
    monkeypatch.setattr(agent, "PATIENCE", 0.5)
    async with serving(lambda name: "ready") as port:
        silent = [socket.create_connection((LOOPBACK, port)) for _ in range(2)]
        await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert await ask(port, b"l\n") == b"", "enough are asking"
        for each in silent:
            each.close()
        await asyncio.sleep(0.1)
        assert await ask(port, b"l\n") == b"ready\n"


async def test_switched_off() -> None:
    made = Agent(AgentSettings(), lambda name: "")
    await made.start()
    await made.close()


async def test_an_address_in_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        settings = AgentSettings(address=LOOPBACK, port=taken.getsockname()[1])
        with pytest.raises(UspError, match="cannot listen on agent address"):
            await Agent(settings, lambda name: "").start()
