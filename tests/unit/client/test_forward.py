"""Forwarded connections over a real link: bytes, half-close, refusals, back-pressure."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from tests.tunnel_pair import client, gate, target, until
from usp.client.tunnels import Peer
from usp.ssh.connect import ClientConnection
from usp.ssh.failures import target_failure
from usp.ssh.options import TUNNEL_WINDOW

READ_ALL = -1


@asynccontextmanager
async def link(
    *, allow: tuple[str, ...] = ("127.0.0.0/8:*",), connect_timeout: float = 1.0
) -> AsyncIterator[tuple[ClientConnection, Peer]]:
    async with gate() as server, client(server.port, allow=allow, connect_timeout=connect_timeout) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        yield server.link().connection, tunnel.links[0]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def send(writer: asyncssh.SSHWriter[bytes], data: bytes, rng: random.Random) -> None:
    at = 0
    while at < len(data):
        size = rng.choice((1, 7, 1000, 32768, 300_000))
        writer.write(data[at : at + size])
        await writer.drain()
        at += size
    writer.write_eof()


@pytest.mark.parametrize("seed", range(3))
async def test_bytes_arrive_whole_both_ways_on_several_connections(seed: int) -> None:
    rng = random.Random(seed)
    async with link() as (connection, peer), target(echo) as port:

        async def one(size: int) -> None:
            data = os.urandom(size)
            reader, writer = await connection.open_connection("127.0.0.1", port)
            sending = asyncio.create_task(send(writer, data, rng))
            assert await reader.read(READ_ALL) == data
            await sending
            writer.close()

        await asyncio.gather(*(one(size) for size in (0, 1, 65_537, rng.randrange(3_000_000))))
        await until(lambda: not peer.forwards)


async def test_each_direction_ends_by_itself() -> None:
    """The target answers only after it saw the end of the request (half-close from the server)."""

    async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(READ_ALL)
        writer.write(said[::-1])
        await writer.drain()

    async with link() as (connection, peer), target(answer_at_end) as port:
        reader, writer = await connection.open_connection("127.0.0.1", port)
        writer.write(b"abc")
        writer.write_eof()
        assert await reader.read(READ_ALL) == b"cba"
        writer.close()
        await until(lambda: not peer.forwards)


async def test_a_target_that_ends_first_still_hears_the_rest() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def end_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"banner")
        writer.write_eof()
        heard.set_result(await reader.read(READ_ALL))

    async with link() as (connection, peer), target(end_first) as port:
        reader, writer = await connection.open_connection("127.0.0.1", port)
        assert await reader.read(READ_ALL) == b"banner"
        writer.write(b"x" * 500_000)
        writer.write_eof()
        assert await heard == b"x" * 500_000
        writer.close()
        await until(lambda: not peer.forwards)


async def test_a_target_that_hangs_up_at_once() -> None:
    async def bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Not allowed at this time\r\n")

    async with link() as (connection, peer), target(bye) as port:
        for _ in range(20):
            reader, writer = await connection.open_connection("127.0.0.1", port)
            assert await reader.read(READ_ALL) == b"Not allowed at this time\r\n"
            writer.close()
        await until(lambda: not peer.forwards)


async def test_a_target_that_resets_ends_the_channel() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with link() as (connection, peer), target(reset) as port:
        _, writer = await connection.open_connection("127.0.0.1", port)
        writer.write(b"x")
        await writer.channel.wait_closed()
        await until(lambda: not peer.forwards)


@pytest.mark.parametrize(
    ("allow", "host", "port", "code"),
    [
        ((), "127.0.0.1", 22, "tunnel.not_allowed"),
        (("10.0.0.0/8:*",), "127.0.0.1", 22, "tunnel.not_allowed"),
        (("127.0.0.0/8:23",), "127.0.0.1", 22, "tunnel.not_allowed"),
        (("other.internal:22",), "localhost", 22, "tunnel.not_allowed"),
        (("127.0.0.0/8:*",), "127.0.0.1", 1, "target.unreachable"),
        (("localhost:*",), "localhost", 1, "target.unreachable"),
        (("no-such-host.invalid:22",), "no-such-host.invalid", 22, "target.unreachable"),
        (("127.0.0.0/8:*",), "x" * 300, 22, "target.unreachable"),
        (("127.0.0.0/8:*",), "a\0b", 22, "target.unreachable"),
    ],
)
async def test_refusals_say_why(allow: tuple[str, ...], host: str, port: int, code: str) -> None:
    async with link(allow=allow) as (connection, peer):
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await connection.open_connection(host, port)
        assert target_failure(caught.value).code == code
        assert not peer.forwards
        assert not connection.is_closed()


async def test_a_target_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        async with link(connect_timeout=0.1) as (connection, peer):
            with pytest.raises(asyncssh.ChannelOpenError, match=r"no answer .* within 0\.1 s"):
                await connection.open_connection("127.0.0.1", full.getsockname()[1])
            assert not peer.forwards
        for sock in waiting:
            sock.close()


async def test_a_name_on_the_list_is_dialled() -> None:
    async with target(echo) as port, link(allow=(f"localhost:{port}",)) as (connection, _):
        reader, writer = await connection.open_connection("localhost", port)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read(READ_ALL) == b"hello"


async def test_the_end_of_the_link_is_the_end_of_its_connections() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(READ_ALL)
        finally:
            ended.set()

    async with link() as (connection, peer), target(wait) as port:
        await connection.open_connection("127.0.0.1", port)
        connection.abort()
        await asyncio.wait_for(ended.wait(), 2)
        await until(lambda: not peer.forwards)


async def test_a_stalled_target_stops_the_sender() -> None:
    """What the server may have under way is the channel's window and some socket buffers, however much it has."""
    go_on = asyncio.Event()
    total = 24 << 20

    async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.write(str(got).encode())

    async with link() as (connection, _), target(stalled) as port:
        reader, writer = await connection.open_connection("127.0.0.1", port)
        sent = 0

        async def push() -> None:
            nonlocal sent
            block = bytes(256 << 10)
            while sent < total:
                writer.write(block)
                await writer.drain()
                sent += len(block)
            writer.write_eof()

        pushing = asyncio.create_task(push())
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 16 << 20
        go_on.set()
        assert await reader.read(READ_ALL) == str(total).encode()
        await pushing


async def test_a_stalled_reader_stops_the_target() -> None:
    """Memory stays bounded, and another connection on the same link is not held up."""
    total = 64 << 20
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        block = bytes(256 << 10)
        while sent < total:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with link() as (connection, _), target(flood) as port, target(echo) as other:
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        channel, _ = await connection.create_connection(_Deaf, "127.0.0.1", port)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 20 << 20
        reader, writer = await connection.open_connection("127.0.0.1", other)
        writer.write(b"still served")
        writer.write_eof()
        assert await reader.read(READ_ALL) == b"still served"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss < 6 * TUNNEL_WINDOW >> 10
        channel.abort()


class _Deaf(asyncssh.SSHTCPSession[bytes]):
    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        chan.pause_reading()
