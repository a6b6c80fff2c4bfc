from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from usp.server import announced
from usp.server.proxy import Bad, Header

HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def test_what_follows_stays_in_the_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(HEADER + b"SSH-2.0-partner\r\n")
    assert await announced.header(ours) == Header(len(HEADER), ("192.0.2.7", 4711))
    assert ours.recv(100) == b"SSH-2.0-partner\r\n"


async def test_it_may_come_in_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    task = asyncio.ensure_future(announced.header(ours))
    for piece in (HEADER[:3], HEADER[3:30], HEADER[30:] + b"SSH-"):
        await asyncio.sleep(0.01)
        assert not task.done()
        theirs.send(piece)
    assert await task == Header(len(HEADER), ("192.0.2.7", 4711))
    assert ours.recv(100) == b"SSH-"


async def test_who_sends_another_thing_is_known_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"SSH-2.0-partner\r\n")
    assert await announced.header(ours) == Bad("it sent no PROXY header but SSH")


async def test_silence_and_absence(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announced, "DEADLINE", 0.05)
    ours, theirs = pair
    theirs.send(HEADER[:-1])
    late = await announced.header(ours)
    assert isinstance(late, Bad)
    assert "not complete within" in late.reason
    theirs.close()
    assert await announced.header(ours) == Bad("it went away before its PROXY header was complete")


async def test_a_connection_that_breaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with ours:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            theirs.close()
            assert await announced.header(ours) == Bad("it went away before its PROXY header was complete")
