"""How messages.py travels: JSON lines in packets of an AF_UNIX SEQPACKET socket, file descriptors beside them.

What is said at one time goes in one packet (`post` takes several messages): a packet costs both sides a system call,
and the receiver a wake-up.

Who owns a descriptor: `send` and `post` leave the caller's descriptors to the caller (the kernel, or the queue, holds
its own reference); those that `receive` returns belong to the caller, who closes them. They are close-on-exec.

Two ways to send. `send` is now or never: False when the socket is full, so that a `Partner` is tried on the next slot.
`post` is for what must not be lost (Commit, SessionEnded, LinkChanged, ...): it waits in a queue until there is room.
Order is kept: while something is queued, `send` says that the socket is full.

See unix(7), "SCM_RIGHTS", and memfd_create(2), "File sealing".
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from usp.errors import UspError
from usp.model import Model
from usp.secret import REVEAL
from usp.server.messages import FromWorker, ToWorker

MAX_PACKET: Final = 160 * 1024
"""Longest packet. Below Linux' default send buffer (208 KiB), which is the most that a packet can ever be."""
MAX_FDS: Final = 8
_BUFFER: Final = 1024 * 1024  # asked for; the kernel caps it at net.core.wmem_max
_TURN: Final = 64  # packets received in a row before others get the loop
_ANCILLARY: Final = socket.CMSG_SPACE(MAX_FDS * array("i").itemsize)
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

Incoming = TypeVar("Incoming")

_TO_WORKER: TypeAdapter[ToWorker] = TypeAdapter(ToWorker)
_FROM_WORKER: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)


class Channel(Generic[Incoming]):
    """One end of a slot's socket. Made by `supervisor_end` and `worker_end`; one task at a time receives."""

    def __init__(self, sock: socket.socket, incoming: TypeAdapter[Incoming]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._sock = sock
        self._incoming = incoming
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._arrived: deque[Incoming] = deque()  # the rest of a packet
        self._turn = 0
        self._waiting: asyncio.Future[None] | None = None
        self._watched = False

    @property
    def queued(self) -> int:
        """How many posted messages wait for room: a sender of mere facts (Event, Metrics) may look before posting."""
        return len(self._queue)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Model, fds: Sequence[int] = ()) -> bool:
        """Send now. False: the socket is full, or the other side is gone, or the message fits no packet."""
        packet = message.model_dump_json(context=REVEAL).encode()
        try:
            return not self._queue and len(packet) <= MAX_PACKET and self._transmit(packet, fds)
        except ConnectionError:
            return False

    def post(self, *messages: Model, fds: Sequence[int] = ()) -> None:
        """Send as soon as there is room, in one packet. To a side that is gone it is lost, as the other side's EOF
        tells."""
        packet = "\n".join(message.model_dump_json(context=REVEAL) for message in messages).encode()
        if len(packet) > MAX_PACKET:
            raise UspError("internal", "a message between supervisor and worker is too long", size=len(packet))
        if self._sock.fileno() < 0:
            return
        try:
            if not self._queue and self._transmit(packet, fds):
                return
        except ConnectionError:
            return
        self._queue.append((packet, tuple(map(os.dup, fds))))
        if len(self._queue) == 1:
            asyncio.get_running_loop().add_writer(self._sock.fileno(), self._flush)

    async def receive(self) -> tuple[Incoming, tuple[int, ...]] | None:
        """The next message and its descriptors, or None when the other side is gone and all it said was received.

        A message for whose descriptors this process has no room (RLIMIT_NOFILE) comes without any."""
        if self._arrived:
            return self._arrived.popleft(), ()
        while True:
            self._turn = (self._turn + 1) % _TURN
            if not self._turn:
                await asyncio.sleep(0)
            try:
                packet, ancillary, flags, _ = self._sock.recvmsg(MAX_PACKET, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._readable()
            except ConnectionResetError:
                continue  # the other side went away without reading all; what it said still stands in the queue
            except OSError:
                return None  # closed on our side
            else:
                if not packet:
                    return None
                return self._decode(packet, _descriptors(ancillary), flags)

    def close(self) -> None:
        """Close this end; what is still queued is dropped."""
        if self._sock.fileno() < 0:
            return
        if self._queue:
            self._stop_writing()
        self._stop_watching()
        if self._waiting is not None:
            _wake(self._waiting)
        self._sock.close()

    def _transmit(self, packet: bytes, fds: Sequence[int]) -> bool:
        """False when the socket is full; ConnectionError when the other side is gone."""
        assert len(fds) <= MAX_FDS, fds
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([packet], rights)
        except ConnectionError:
            raise
        except OSError:  # EAGAIN; under pressure also ENOBUFS and ETOOMANYREFS
            return False
        return True

    def _flush(self) -> None:
        try:
            while self._queue:
                packet, fds = self._queue[0]
                if not self._transmit(packet, fds):
                    return
                self._queue.popleft()
                close_all(fds)
        except ConnectionError:
            pass  # nobody will read the rest
        self._stop_writing()

    def _stop_writing(self) -> None:
        asyncio.get_running_loop().remove_writer(self._sock.fileno())
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()

    async def _readable(self) -> None:
        """The loop goes on watching the socket from one message to the next, until one comes that nobody waits for."""
        loop = asyncio.get_running_loop()
        if not self._watched:
            self._watched = True
            loop.add_reader(self._sock.fileno(), self._on_readable)
        self._waiting = loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _on_readable(self) -> None:
        if self._waiting is None:
            self._stop_watching()
        else:
            _wake(self._waiting)

    def _stop_watching(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())

    def _decode(self, packet: bytes, fds: tuple[int, ...], flags: int) -> tuple[Incoming, tuple[int, ...]]:
        try:
            if flags & socket.MSG_TRUNC:
                raise UspError("internal", "a message between supervisor and worker was cut off")
            if flags & socket.MSG_CTRUNC:  # RLIMIT_NOFILE: the kernel closes what finds no room
                close_all(fds)
                fds = ()
            message, *rest = map(self._incoming.validate_json, packet.split(b"\n"))
            self._arrived.extend(rest)
            return message, fds
        except ValidationError:
            close_all(fds)
            raise UspError("internal", "a message between supervisor and worker is malformed") from None
        except UspError:
            close_all(fds)
            raise


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def supervisor_end(sock: socket.socket) -> Channel[FromWorker]:
    return Channel(sock, _FROM_WORKER)


def worker_end(sock: socket.socket) -> Channel[ToWorker]:
    return Channel(sock, _TO_WORKER)


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new slot socket, both close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def to_memfd(data: bytes) -> int:
    """A sealed, anonymous file in memory that holds `data`. The caller closes it."""
    fd = os.memfd_create("usp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def from_memfd(fd: int) -> bytes:
    """What a sealed memfd holds. Reads by position, since all receivers share one offset; the caller closes it."""
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        sealed = False
    if not sealed:
        raise UspError("internal", "the descriptor is not a sealed memory file")
    parts: list[bytes] = []
    at = 0
    while part := os.pread(fd, 1 << 24, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    fds = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return tuple(fds)
