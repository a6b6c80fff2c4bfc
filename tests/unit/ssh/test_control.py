from __future__ import annotations

import asyncio
from typing import Any

import pytest

from usp.errors import UspError
from usp.hello import Draining, Welcome, encode
from usp.ssh.control import ClientEnd, Control, ServerEnd


class Channel:
    """What a session needs of a channel."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


def control(kind: type[Control] = ServerEnd) -> tuple[Control, Channel]:
    made, channel = kind(), Channel()
    made.connection_made(channel)
    return made, channel


async def test_lines_arrive_however_they_were_cut() -> None:
    made, _ = control()
    made.data_received(b"on")
    made.data_received(b"e\ntwo\n")
    assert [await made.receive(), await made.receive()] == [b"one", b"two"]


async def test_what_is_sent_is_a_line_until_the_channel_closes() -> None:
    made, channel = control()
    made.send(Draining())
    assert channel.written == encode(Draining())
    channel.closing = True
    made.send(Welcome(server="s", slot=0, slots=1))
    assert channel.written == encode(Draining())
    Control().send(Draining())  # before there is a channel


@pytest.mark.parametrize("said", [b"x" * 5000, b"\n" * 9])
async def test_too_much_ends_the_channel(said: bytes) -> None:
    made, channel = control()
    made.data_received(said)
    assert channel.aborted
    with pytest.raises(UspError):
        await made.receive()


async def test_the_end_is_the_end_for_everybody_who_waits() -> None:
    made, _ = control()
    waiting = [asyncio.create_task(made.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    assert made.eof_received() is False
    made.connection_lost(None)
    results: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result.code for result in results] == ["tunnel.down", "tunnel.down"]


def test_only_the_hello_is_granted() -> None:
    end = ClientEnd()
    assert end.subsystem_requested("usp-hello")
    assert not end.subsystem_requested("sftp")
    assert not end.exec_requested("id")
    assert not end.shell_requested()
    assert not end.started.is_set()
    end.session_started()
    assert end.started.is_set()
