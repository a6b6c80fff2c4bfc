"""One SFTP channel over asyncssh, at the level of packets: as many requests under way as one likes, and little cost."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from typing import Any, Final

import asyncssh

BLOCK: Final = 32768

_ids: Final = itertools.count(1)
_STATUS: Final = 101
_HANDLE: Final = 102
_DATA: Final = 103
_READ_FLAGS: Final = 0x01
_WRITE_FLAGS: Final = 0x1A  # write, create, truncate


class RawSftp(asyncssh.SSHClientSession[bytes]):
    """Which request an answer is to is not looked at: what counts is that each has one, and that it is a good one."""

    def __init__(self) -> None:
        self.channel: Any = None
        self._in = bytearray()
        self._requests: Iterator[bytes] = iter(())
        self._open = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last = b""

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection is gone: {exc}")

    def data_received(self, data: bytes, datatype: Any) -> None:
        self._in += data
        at = 0
        while len(self._in) - at >= 4:
            (size,) = struct.unpack_from(">I", self._in, at)
            if len(self._in) - at < 4 + size:
                break
            self._answer(at + 4, size)
            at += 4 + size
        del self._in[:at]

    def _answer(self, at: int, size: int) -> None:
        kind = self._in[at]
        if kind == _STATUS and struct.unpack_from(">I", self._in, at + 5)[0]:
            self._fail(f"refused: {bytes(self._in[at : at + size])!r}")
        elif kind == _DATA and size != 9 + BLOCK:
            self._fail(f"{size - 9} bytes were read")
        self._last = bytes(self._in[at : at + size]) if kind == _HANDLE else b""
        self._open -= 1
        self._ask()

    def _ask(self) -> None:
        for request in self._requests:
            self._open += 1
            self.channel.write(request)
            return
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def _fail(self, text: str) -> None:
        if not self._done.done():
            self._done.set_exception(OSError(text))

    async def ask(self, requests: Iterator[bytes], ahead: int = 1) -> None:
        """Until all of them are answered; `ahead` of them are under way."""
        self._requests, self._done = requests, asyncio.get_running_loop().create_future()
        for _ in range(ahead):
            self._ask()
        await self._done

    async def start(self) -> None:
        await self.ask(iter([struct.pack(">IBI", 5, 1, 3)]))

    async def open(self, name: str, *, write: bool) -> bytes:
        """The handle, packed."""
        path = name.encode()
        flags = _WRITE_FLAGS if write else _READ_FLAGS
        await self.ask(iter([_packet(3, struct.pack(">I", len(path)) + path + struct.pack(">II", flags, 0))]))
        return self._last[5:]


def writes(handle: bytes, data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), BLOCK):
        yield _packet(6, handle + struct.pack(">QI", at, BLOCK) + data[at : at + BLOCK])


def reads(handle: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, size, BLOCK):
        yield _packet(5, handle + struct.pack(">QI", at, BLOCK))


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IBI", 5 + len(body), kind, next(_ids)) + body
