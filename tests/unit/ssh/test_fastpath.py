"""The fast path and asyncssh's own way deliver the same streams, whatever the sizes, windows, rekeys and ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import asyncssh
import pytest
from asyncssh.channel import SSHChannel
from asyncssh.packet import UInt32

from tests.unit.ssh import pump
from tests.unit.ssh.pair import CIPHERS, joined, until
from usp.ssh import fastpath
from usp.ssh.connect import ClientConnection, ServerConnection
from usp.ssh.fastpath import FastPath
from usp.ssh.sending import write
from usp.ssh.socketio import Outlet

SIZES = [1, 32768, 5, 100_000, 32769, 0, 7, 700_000, 3]


@pytest.fixture(params=["fast-fast", "fast-stock", "stock-fast"])
def mix(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    server, client = request.param.split("-")
    monkeypatch.setattr(ServerConnection, "fast", server == "fast")
    monkeypatch.setattr(ClientConnection, "fast", client == "fast")
    return str(request.param)


@pytest.mark.parametrize("cipher", [*CIPHERS, "aes128-ctr"])
async def test_both_directions_at_once(mix: str, cipher: str) -> None:
    async with joined(cipher=cipher) as (_, server, _, client):
        up = [os.urandom(size) for size in SIZES]
        down = [os.urandom(size) for size in reversed(SIZES)]
        for one, other in zip(up, down, strict=True):
            write(client.channel, one)
            write(server.channel, memoryview(other))
            await asyncio.sleep(0)
        await until(lambda: len(server.got) == sum(SIZES) and len(client.got) == sum(SIZES))
        assert bytes(server.got) == b"".join(up)
        assert bytes(client.got) == b"".join(down)


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_read_may_end_anywhere_in_a_packet(cipher: str) -> None:
    async with pump.joined(cipher=cipher) as pair:
        await pair.open(1 << 21, 1 << 15)
        client, server, sent = pair.ends[0][0], pair.ends[1][0], bytearray()

        def arrived() -> bool:
            return server.got == sent

        for cut in range(1, 60):
            for data in (os.urandom(10), os.urandom(20)):
                write(client.channel, data)
                sent += data
            await asyncio.sleep(0)
            await pair.carry(0, cut)
            assert await pair.until(arrived)


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_rekeys_in_the_middle(mix: str, cipher: str) -> None:
    async with joined(cipher=cipher, rekey=200_000) as (server_connection, server, client_connection, client):
        first = client_connection._send_encryption
        up, down = os.urandom(1_500_000), os.urandom(1_500_000)
        for start in range(0, len(up), 50_000):
            write(client.channel, up[start : start + 50_000])
            write(server.channel, down[start : start + 50_000])
            await asyncio.sleep(0.001)
        await until(lambda: len(server.got) == len(up) and len(client.got) == len(down))
        assert bytes(server.got) == up
        assert bytes(client.got) == down
        assert client_connection._send_encryption is not first, "there was a rekey"
        assert server_connection._session_id == client_connection._session_id


async def test_a_write_that_makes_a_rekey_due_is_sent_to_its_end(mix: str) -> None:
    """Nothing else is sent that would begin it."""
    async with joined(rekey=100_000) as (_, server, connection, client):
        keys_before = connection._send_encryption
        data = os.urandom(300_000)
        write(client.channel, data)
        await until(lambda: len(server.got) == len(data))
        assert bytes(server.got) == data
        assert connection._send_encryption is not keys_before


@pytest.mark.parametrize("window", [1000, 40_000])
async def test_small_windows_and_a_reader_that_stops(mix: str, window: int) -> None:
    async with joined(window=window) as (_, server, _, client):
        server.channel.pause_reading()
        data = os.urandom(300_000)
        for start in range(0, len(data), 10_000):
            write(client.channel, data[start : start + 10_000])
        await asyncio.sleep(0.05)
        assert client.paused, "what waits for the window is back-pressure"
        assert len(server.got) == 0
        server.channel.resume_reading()
        await until(lambda: len(server.got) == len(data))
        assert bytes(server.got) == data
        assert not client.paused


async def test_eof_and_close_come_after_the_data(mix: str) -> None:
    async with joined(window=50_000) as (_, server, _, client):
        data = os.urandom(400_000)
        write(client.channel, data)
        client.channel.write_eof()
        await asyncio.wait_for(server.eof.wait(), 5)
        assert bytes(server.got) == data
        write(server.channel, b"bye")
        server.channel.close()
        assert await asyncio.wait_for(client.lost, 5) is None
        assert bytes(client.got) == b"bye"


async def test_the_last_words_arrive() -> None:
    """What was batched when the connection is closed is sent before the socket is."""
    async with joined() as (server_connection, _, _, client):
        server_connection._send_disconnect(2, "these are the last words", "en")
        server_connection.abort()
        lost = await asyncio.wait_for(client.lost, 5)
        assert isinstance(lost, asyncssh.DisconnectError)
        assert "last words" in lost.reason


async def corrupted(change: Any, seconds: float = 5.0) -> tuple[Exception | None, bytes]:
    """What the server makes of a packet of the client that was changed on the way."""
    async with joined() as (_, server, client_connection, client):
        write(client.channel, b"good")
        await until(lambda: bytes(server.got) == b"good")

        class Tampering:
            def __init__(self, transport: Any) -> None:
                self._transport = transport

            def write(self, data: bytes) -> None:
                self._transport.write(bytes(change(bytearray(data))))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._transport, name)

        client_connection._outlet = Outlet(Tampering(client_connection._transport))
        client_connection._outlet.fd = -1
        write(client.channel, os.urandom(5000))
        return await asyncio.wait_for(server.lost, seconds), bytes(server.got)


@pytest.mark.parametrize("place", [0, 3, 4, 10, 400, -1])
async def test_a_corrupted_packet_ends_in_a_clean_disconnect(place: int) -> None:
    def change(data: bytearray) -> bytearray:
        data[place] ^= 0x80
        if place == 3:  # the length then asks for bytes that never come: send them
            data += bytes(300_000)
        return data

    lost, got = await corrupted(change)
    assert isinstance(lost, asyncssh.DisconnectError)
    assert not isinstance(lost, asyncssh.ConnectionLost)
    assert got == b"good", "nothing of it was delivered"


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (94, bytes(4) + (5000).to_bytes(4, "big") + b"short"),  # says more than there is
        (94, (77).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"x"),  # no such channel
        (93, (77).to_bytes(4, "big") + (1).to_bytes(4, "big")),
        (93, bytes(4) + b"abc"),
        (94, b""),
    ],
)
async def test_bad_channel_packets_are_judged_by_asyncssh(kind: int, rest: bytes) -> None:
    async with joined() as (_, server, client_connection, _):
        client_connection.send_packet(kind, rest)
        lost = await asyncio.wait_for(server.lost, 5)
        assert isinstance(lost, asyncssh.ProtocolError), lost


async def test_more_than_the_window_is_a_protocol_error() -> None:
    async with joined(window=1000) as (_, server, _, client):
        client.channel._send_window = 100_000
        write(client.channel, bytes(2000))
        lost = await asyncio.wait_for(server.lost, 5)
        assert isinstance(lost, asyncssh.ProtocolError)
        assert "Window exceeded" in lost.reason


async def test_ignore_and_unknown_packets_disturb_nothing(mix: str) -> None:
    async with joined() as (_, server, client_connection, client):
        asyncssh.SSHClientConnection.send_packet(client_connection, 2, asyncssh.packet.String(b"ignored"))
        client_connection.send_packet(192, b"who knows this")
        write(client.channel, b"data")
        await until(lambda: bytes(server.got) == b"data")


@pytest.fixture
def switched_off() -> Iterator[None]:
    fastpath.switch(False)
    yield
    fastpath.switch(True)


async def test_it_can_be_switched_off(switched_off: None) -> None:
    async with joined() as (_, server, client_connection, client):
        assert client_connection._sealer is None
        write(client.channel, b"slow but sure")
        await until(lambda: bytes(server.got) == b"slow but sure")


def test_this_asyncssh_has_all_that_is_relied_on() -> None:
    """A new asyncssh that lacks something of this runs without the fast path; this test says so."""
    assert fastpath.USABLE
    connection = vars(asyncssh.SSHClientConnection.__mro__[1])
    assert {"_recv_pkthdr", "_recv_packet", "send_packet", "send_newkeys"} <= connection.keys()
    code = SSHChannel._accept_data.__code__.co_names + SSHChannel._deliver_data.__code__.co_names
    assert {"_recv_window", "_recv_paused", "_init_recv_window", "_send_state"} <= set(code)
    code = SSHChannel.write.__code__.co_names + SSHChannel._flush_send_buf.__code__.co_names
    assert {"_send_buf", "_send_buf_len", "_send_window", "_send_pktsize"} <= set(code)
    code = asyncssh.SSHClientConnection.send_packet.__code__.co_names
    assert {"_rekey_bytes_sent", "_deferred_packets", "_send_seq", "_kex_complete", "_auth_complete"} <= set(code)
    base: Any = asyncssh.SSHClientConnection.__mro__[1]
    assert {"_keepalive_interval", "_keepalive_timer"} <= set(base._set_keepalive_timer.__code__.co_names)
    assert "_keepalive_timer_callback" in base._set_keepalive_timer.__code__.co_names
    assert FastPath.fast


@pytest.mark.parametrize("outer", CIPHERS)
@pytest.mark.parametrize("inner", CIPHERS)
async def test_what_is_written_on_as_it_came_arrives_whole(inner: str, outer: str) -> None:
    """A relay between two connections: packets pass in place, and nothing of their sender's padding with them."""
    sizes = [1, 5, 6, 7, 100, 1000, 30_000, 32_768, 3]
    data = [os.urandom(size) for size in sizes]
    async with pump.joined(cipher=inner) as first, pump.joined(cipher=outer) as second:
        for pair in (first, second):
            await pair.open(1 << 20, 1 << 15)

        class Onward(pump.End):
            def data_received(self, data: Any, datatype: int | None) -> None:
                super().data_received(data, datatype)
                write(second.ends[0][0].channel, data)

        onward = first.ends[1][0].channel._session = Onward(takes_views=True)
        for piece in data:
            write(first.ends[0][0].channel, piece)
        assert await first.until(lambda: len(onward.got) == sum(sizes))
        end = second.ends[1][0]
        assert await second.until(lambda: len(end.got) == sum(sizes))
        assert bytes(end.got) == b"".join(data)


class Pieces(pump.End):
    """Keeps apart what came apart."""

    def __init__(self) -> None:
        super().__init__(takes_views=True)
        self.pieces: list[bytes] = []
        self.then: Callable[[], object] = lambda: None

    def data_received(self, data: Any, datatype: int | None) -> None:
        super().data_received(data, datatype)
        self.pieces.append(bytes(data))
        self.then()


def in_order(pair: pump.Joined, number: int) -> Pieces:
    """The server's end of a channel, from now on."""
    channel = pair.ends[1][number].channel
    end = channel._session = Pieces()
    end.connection_made(channel)
    return end


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_data_that_came_in_a_row_is_handed_on_at_once(cipher: str) -> None:
    """Until something else comes in between, or there is no more room for it."""
    data = [os.urandom(size) for size in (1, 9, 10, 11, 5000, 100_000, 100_000, 100_000)]
    async with pump.joined(cipher=cipher, pieces=[1 << 20]) as pair:
        for _ in range(2):
            await pair.open(1 << 20, 1 << 18)
        one, other = in_order(pair, 0), in_order(pair, 1)
        to_one, to_other = (end.channel for end in pair.ends[0])
        for piece in data:
            write(to_one, piece)
        write(to_other, b"in between")
        write(to_one, b"and again")
        pair.connections[0].flush()
        await pair.carry(0, 1 << 20)
        assert one.pieces == [b"".join(data[:-1]), data[-1], b"and again"]
        assert other.pieces == [b"in between"]


async def test_what_came_before_a_broken_packet_is_handed_on() -> None:
    async with pump.joined(cipher=CIPHERS[0]) as pair:
        await pair.open(1 << 20, 1 << 15)
        end = in_order(pair, 0)
        for piece in (b"whole" * 100, b"well", b"broken"):
            write(pair.ends[0][0].channel, piece)
        pair.connections[0].flush()
        pair.ways[0].waiting[-1] ^= 1
        await pair.carry(0, 1 << 20)
        assert end.pieces == [b"whole" * 100 + b"well"]
        assert await pair.until(lambda: end.lost)
        assert isinstance(end.exc, asyncssh.MACError)


async def test_who_stops_reading_gets_no_more_than_came_in_a_row() -> None:
    async with pump.joined(cipher=CIPHERS[0]) as pair:
        await pair.open(1 << 20, 1 << 15)
        end = in_order(pair, 0)
        end.read(1)
        for piece in (b"a row", b" of two"):
            write(pair.ends[0][0].channel, piece)
        pair.connections[0].send_packet(fastpath.WINDOW_ADJUST, UInt32(end.channel._send_chan), UInt32(1))
        write(pair.ends[0][0].channel, b"later")
        pair.connections[0].flush()
        await pair.carry(0, 1 << 20)
        assert (end.pieces, end.held) == ([b"a row of two"], len(b"later"))
        end.read(None)
        assert end.pieces[1:] == [b"later"]


@pytest.mark.parametrize("then", ["data of another", "window", "request", "broken"])
async def test_who_ends_the_connection_while_it_reads_ends_all_of_it(then: str) -> None:
    async with pump.joined(cipher=CIPHERS[0]) as pair:
        for _ in range(2):
            await pair.open(1 << 20, 1 << 15)
        one, other = in_order(pair, 0), in_order(pair, 1)
        to_one, to_other = (end.channel for end in pair.ends[0])
        one.then = pair.connections[1].abort
        write(to_one, b"the last")
        if then == "window":
            to_one.send_packet(fastpath.WINDOW_ADJUST, UInt32(1))
        elif then == "request":
            to_one.write_eof()
        for _ in range(3):
            write(to_other, b"too late")
        pair.connections[0].flush()
        if then == "broken":
            pair.ways[0].waiting[-1] ^= 1
        await pair.carry(0, 1 << 20)
        assert one.pieces == [b"the last"]
        assert other.pieces == []
        assert await pair.until(lambda: one.lost and other.lost)


async def test_who_is_heard_is_not_asked_for_a_sign_of_life() -> None:
    async with joined() as (server_connection, server, _, client):
        asked: list[float] = []

        async def ask() -> None:
            asked.append(server_connection._loop.time())

        server_connection._make_keepalive_request = ask  # type: ignore[method-assign]
        server_connection.set_keepalive(interval=0.1, count_max=100)
        for _ in range(20):
            write(client.channel, b"x")
            await asyncio.sleep(0.02)
        assert len(server.got) == 20
        heard, before = server_connection._heard, len(asked)
        await until(lambda: len(asked) > before)
        assert asked[-1] - heard >= 0.099
