"""What a channel holds for its reader, in bytes and in pieces."""

from __future__ import annotations

import os

import pytest

from tests.unit.ssh.pump import KINDS, joined
from usp.ssh import window
from usp.ssh.sending import write

AES = "aes128-gcm@openssh.com"
OURS = [kind for kind in KINDS if kind != "asyncssh"]


@pytest.mark.parametrize("kind", OURS)
async def test_a_reader_that_sips_makes_it_hold_no_more_than_the_window(kind: str) -> None:
    async with joined((kind, kind), cipher=AES) as pair:
        await pair.open(1 << 20, 1 << 15)
        client, server = pair.ends[0][0], pair.ends[1][0]
        server.channel.pause_reading()
        data = os.urandom(4 << 20)
        write(client.channel, data)
        for _ in range(20):
            await pair.until(lambda: False)
            assert 1 << 19 <= server.held <= 1 << 20
            server.read(1)
        server.read(None)
        assert await pair.until(lambda: len(server.got) == len(data))
        assert server.got == data


async def test_what_waits_is_in_few_pieces_even_if_it_came_in_single_bytes() -> None:
    async with joined(cipher=AES) as pair:
        await pair.open(100_000, 1 << 15)
        client, server = pair.ends[0][0], pair.ends[1][0]
        server.channel.pause_reading()
        data = os.urandom(70_000)
        for at in range(len(data)):
            write(client.channel, data[at : at + 1])
        assert await pair.until(lambda: server.held == len(data))
        assert len(server.channel._recv_buf) == 1 + len(data) // window.PIECE
        server.read(None)
        assert server.got == data


async def test_stderr_does_not_mix_with_data() -> None:
    async with joined(cipher=AES) as pair:
        await pair.open(100_000, 1 << 15)
        client, server = pair.ends[0][0], pair.ends[1][0]
        client.channel.pause_reading()
        for text in (b"one", b"two"):
            write(server.channel, text)
            server.channel.write_stderr(text.upper())
        assert await pair.until(lambda: client.held == 12)
        client.read(None)
        assert client.got == b"onetwo"
        assert client.errors == b"ONETWO"


async def test_what_comes_after_a_close_is_dropped() -> None:
    async with joined(cipher=AES) as pair:
        await pair.open(100_000, 1 << 15)
        client, server = pair.ends[0][0], pair.ends[1][0]
        server.channel.pause_reading()
        write(client.channel, b"kept")
        assert await pair.until(lambda: server.held == 4)
        server.channel.close()
        write(client.channel, b"late")
        assert await pair.until(lambda: server.lost and client.lost)
        assert server.got == b""


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize(
    "pair_of", [("fast", "fast"), ("off", "off"), ("fast", "off"), ("fast", "asyncssh"), ("asyncssh", "fast")]
)
async def test_two_that_close_with_more_to_say_than_the_window_takes_both_end(
    pair_of: tuple[str, str], paused: bool
) -> None:
    async with joined(pair_of, cipher=AES) as pair:
        await pair.open(1000, 1 << 15)
        ends = pair.ends[0][0], pair.ends[1][0]
        for end in ends:
            if paused:
                end.channel.pause_reading()
            write(end.channel, bytes(5000))
        for end in ends:
            end.channel.close()
        assert await pair.until(lambda: all(end.lost for end in ends))
