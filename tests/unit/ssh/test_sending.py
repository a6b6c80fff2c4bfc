"""Packets of one read event, or one tick, leave together; what cannot go now is not lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.ssh.pair import joined, until
from usp.ssh import sending
from usp.ssh.sending import write


async def test_packets_of_one_tick_are_one_write() -> None:
    async with joined() as (_, server, client_connection, client):
        writes: list[int] = []
        outlet = client_connection._outlet
        assert outlet
        out = outlet.write

        def counted(view: memoryview) -> None:
            writes.append(len(view))
            out(view)

        outlet.write = counted  # type: ignore[method-assign]
        for _ in range(20):
            write(client.channel, b"x" * 100)
        await until(lambda: len(server.got) == 2000)
        assert len(writes) == 1


async def test_a_few_words_take_little_memory_until_the_tick_ends() -> None:
    """A thousand connections may have them in one tick, such as a keepalive, or their end."""
    async with joined() as (_, server, client_connection, client):
        write(client.channel, b"few")
        assert client_connection._batch is not None
        assert len(client_connection._batch) <= sending.SMALL
        write(client.channel, b"m" * 32_768)
        write(client.channel, b"more")
        await until(lambda: bytes(server.got) == b"few" + b"m" * 32_768 + b"more")


async def test_writing_after_the_close_is_an_error() -> None:
    async with joined() as (_, server, _, client):
        channel = client.channel
        channel.close()
        with pytest.raises(BrokenPipeError):
            write(channel, b"x")
        await asyncio.wait_for(server.lost, 5)
