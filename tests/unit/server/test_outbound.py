"""Dialling: every way in which a target fails has its code and an end in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests import tunnel_pair
from tests.unit.server.gateway import OTHER_LINE, PASSWORD, USER, Target, prepared, snapshot
from usp.errors import UspError
from usp.secret import Secret
from usp.server import outbound
from usp.ssh.connect import ClientConnection, Login

TIMEOUT = 1.0


@asynccontextmanager
async def dialled(
    port: int, password: str = PASSWORD, pinned: str = "", timeout: float = TIMEOUT
) -> AsyncIterator[ClientConnection]:
    made = snapshot(port, pinned=pinned) if pinned else snapshot(port)
    lost: list[Exception | None] = []
    target = prepared(made).doors["l1", "n1"].target
    connection = await outbound.dial(target, Login(USER, Secret(password)), None, lost.append, timeout)
    yield connection
    connection.close()
    await connection.wait_closed()
    assert lost == [None]


async def code_of(port: int, password: str = PASSWORD, pinned: str = "", timeout: float = TIMEOUT) -> str:
    with pytest.raises(UspError) as caught:
        async with dialled(port, password, pinned, timeout):
            pass
    assert PASSWORD not in str(caught.value)
    return caught.value.code


async def test_logged_in(target: Target) -> None:
    async with dialled(target.port) as connection:
        assert connection.get_extra_info("username") == USER


async def test_what_goes_wrong(target: Target, unused_tcp_port: int) -> None:
    assert await code_of(unused_tcp_port) == "target.unreachable"
    assert await code_of(target.port, "wrong") == "target.auth_denied"
    assert target.logins == 1
    assert await code_of(target.port, pinned=OTHER_LINE) == "target.host_key_mismatch"
    await tunnel_pair.until(lambda: not target.connections)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-slow\r\n"])
async def test_one_that_hangs(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()
        await asyncio.sleep(60)

    async with tunnel_pair.target(serve) as port:
        assert await code_of(port, timeout=0.2) == "target.unreachable"


@pytest.mark.parametrize("said", [b"", b"Not allowed at this time\r\n", b"SSH-1.5-old\r\n"])
async def test_one_that_hangs_up(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with tunnel_pair.target(serve) as port:
        assert await code_of(port) == "target.refused"


async def test_dialling_is_given_up() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with tunnel_pair.target(serve) as port:
        dialling = asyncio.ensure_future(code_of(port))
        await asyncio.sleep(0.05)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        async with asyncio.timeout(1):
            await gone.wait()
