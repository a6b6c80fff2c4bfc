"""Sockets read through one buffer and written to directly: the same bytes, in order, whatever waits."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from usp.ssh.socketio import Inlet, Outlet


class Receiver(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.got = bytearray()
        self.views = 0
        self.ended = asyncio.Event()
        self.paused: list[bool] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.views += isinstance(data, memoryview)
        self.got += data

    def eof_received(self) -> bool:
        self.ended.set()
        return True

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def joined() -> tuple[Receiver, socket.socket]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver = Receiver()
        await loop.create_connection(lambda: Inlet(receiver), *listening.getsockname())
        other, _ = listening.accept()
    other.setblocking(False)
    return receiver, other


async def test_two_sockets_share_the_buffer_and_nothing_else() -> None:
    loop = asyncio.get_running_loop()
    pairs = [await joined(), await joined()]
    sent = [os.urandom(700_000), os.urandom(700_000)]
    await asyncio.gather(*(loop.sock_sendall(other, data) for (_, other), data in zip(pairs, sent, strict=True)))
    for (receiver, other), data in zip(pairs, sent, strict=True):
        other.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(receiver.ended.wait(), 5)
        assert bytes(receiver.got) == data
        assert receiver.views
        receiver.transport.close()
        assert await asyncio.wait_for(receiver.lost, 5) is None
        other.close()


async def test_what_the_socket_does_not_take_waits_in_the_transport_and_stays_in_order() -> None:
    loop = asyncio.get_running_loop()
    receiver, other = await joined()
    outlet = Outlet(receiver.transport)
    data = os.urandom(8_000_000)
    batch = bytearray(100_000)
    for start in range(0, len(data), len(batch)):
        batch[:] = data[start : start + len(batch)]
        outlet.write(memoryview(batch))
        batch[:] = bytes(len(batch))  # it may be used again
    assert receiver.paused == [True]
    got = bytearray()
    while len(got) < len(data):
        got += await asyncio.wait_for(loop.sock_recv(other, 1 << 20), 5)
    assert bytes(got) == data
    assert receiver.paused == [True, False]
    other.close()
    receiver.transport.close()


async def test_a_broken_connection_is_the_transports_to_tell() -> None:
    receiver, other = await joined()
    outlet = Outlet(receiver.transport)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()
    for _ in range(50):
        outlet.write(memoryview(b"x" * 1000))
        await asyncio.sleep(0.01)
        if receiver.lost.done():
            break
    assert isinstance(await asyncio.wait_for(receiver.lost, 5), OSError)


async def test_without_a_socket_all_goes_to_the_transport() -> None:
    receiver, other = await joined()
    outlet = Outlet(receiver.transport)
    outlet.fd = -1
    outlet.write(memoryview(b"hello"))
    assert await asyncio.get_running_loop().sock_recv(other, 100) == b"hello"
    other.close()
    receiver.transport.close()
