"""Two connected sockets, joined in the kernel: bytes go from one to the other through a pipe (splice(2)) and never come
into this process.

Each direction is a `_Flow`: what is readable goes into a pipe and from there to the other socket; until the pipe is
empty again nothing more is read, so that a slow reader slows the sender down and a join holds one pipe's worth at most.
A pipe is borrowed while bytes move, so idle joins have none. The end of one direction is passed on by itself
(half-close, RFC 9293, 3.6); when both have ended, or either side breaks, the join is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from usp.server.throttle import Throttle

PIPE: Final = 256 << 10
"""Bytes that a pipe takes. (A user who is no root may have 64 MiB in pipes; beyond that they are small, and work.)"""
ROUNDS: Final = 4
"""Pipes filled and emptied in one go, before others get the loop."""
LITTLE: Final = 128 << 10
"""After less than this there is hardly more: not worth the system call that would tell."""
IDLE_PIPES: Final = 16

_FLAGS: Final = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_RESET: Final = struct.pack("ii", 1, 0)

_idle: list[tuple[int, int]] = []
"""Empty pipes that nobody uses: read end and write end."""


class Side(Enum):
    PARTNER = auto()
    TARGET = auto()


Over = Callable[[Side | None, OSError | None], None]
"""Called once. Both directions have ended (None, None), or a side broke, or something of our own (None, and why)."""


class Splice:
    """`bytes_in` came from the partner, `bytes_out` from the target; `first`: whose sending ended first.

    `heard` is called when the partner sends its first byte.
    """

    def __init__(
        self,
        partner: socket.socket,
        target: socket.socket,
        over: Over,
        heard: Callable[[], None] = lambda: None,
        throttle: Throttle | None = None,
        limits: tuple[str, str] = ("", ""),
    ) -> None:
        """`limits`: keys of what bounds its upload and its download."""
        self._over: Over | None = over
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self.last_active = self._loop.time()
        self.first: Side | None = None
        self._sockets = (partner, target)
        throttle, (upload, download) = throttle or Throttle(self._loop), limits
        self._in = _Flow(self, partner, target, Side.PARTNER, Side.TARGET, throttle, upload)
        self._out = _Flow(self, target, partner, Side.TARGET, Side.PARTNER, throttle, download)

    @property
    def bytes_in(self) -> int:
        return self._in.moved

    @property
    def bytes_out(self) -> int:
        return self._out.moved

    @property
    def held(self) -> bool:
        """A limit of bandwidth does not let it read."""
        return self._in.rate.held or self._out.rate.held

    def start(self) -> None:
        for sock in self._sockets:
            at_once(sock)
        self._in.start()
        self._out.start()

    def close(self, *, reset: bool = False) -> None:
        """Let go of both sockets. `reset`: they must not take it for the end of what was sent."""
        self._over = None
        self._in.stop()
        self._out.stop()
        for sock in self._sockets:
            close(sock, reset=reset)

    def active(self) -> None:
        self.last_active = self._loop.time()

    def began(self, side: Side) -> None:
        if side is Side.PARTNER:
            self._heard()

    def ended(self, side: Side) -> None:
        if self.first is None:
            self.first = side
        else:
            self._tell(None, None)

    def broken(self, side: Side | None, error: OSError) -> None:
        self._in.stop()
        self._out.stop()
        self._tell(side, error)

    def _tell(self, side: Side | None, error: OSError | None) -> None:
        if self._over is not None:
            over, self._over = self._over, None
            over(side, error)


class _Flow:
    """One direction."""

    def __init__(
        self,
        join: Splice,
        source: socket.socket,
        sink: socket.socket,
        sender: Side,
        receiver: Side,
        throttle: Throttle,
        limit: str,
    ) -> None:
        self.moved = 0
        self.rate = throttle.flow((limit,), self._hold)
        self._join = join
        self._sink_socket = sink
        self._source, self._sink = source.fileno(), sink.fileno()
        self._sender, self._receiver = sender, receiver
        self._loop = asyncio.get_running_loop()
        self._pipe: tuple[int, int] | None = None
        self._held = 0  # bytes in the pipe

    def start(self) -> None:
        self._loop.add_reader(self._source, self._readable)

    def stop(self) -> None:
        self.rate.close()
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)
        if self._pipe is not None:
            _give_back(self._pipe, empty=not self._held)
            self._pipe = None

    def _readable(self) -> None:
        self._join.active()
        side: Side | None = None
        try:
            pipe = self._pipe = self._pipe or _borrow()
            for _ in range(ROUNDS):
                side = self._sender
                most = self.rate.room(PIPE) if self.rate.queues else PIPE
                self._held = got = os.splice(self._source, pipe[1], most, flags=_FLAGS)
                side = self._receiver
                if not got:
                    self._end()
                    return
                if not self.moved:
                    self._join.began(self._sender)
                if self.rate.queues:
                    self.rate.passed(got)
                self._push(pipe)
                if self._held:
                    self._loop.remove_reader(self._source)
                    self._loop.add_writer(self._sink, self._writable)
                    return
                if got < LITTLE or self.rate.held:
                    break
        except BlockingIOError:
            pass  # all that was there is read
        except OSError as error:
            self._join.broken(side, error)
            return
        self._rest()

    def _writable(self) -> None:
        self._join.active()
        assert self._pipe is not None
        try:
            self._push(self._pipe)
        except OSError as error:
            self._join.broken(self._receiver, error)
            return
        if not self._held:
            self._loop.remove_writer(self._sink)
            self._rest()
            self._hold(self.rate.held)

    def _hold(self, held: bool) -> None:
        """By a limit of bandwidth. What the pipe holds goes on."""
        if held:
            self._loop.remove_reader(self._source)
        elif not self._held:
            self._loop.add_reader(self._source, self._readable)

    def _push(self, pipe: tuple[int, int]) -> None:
        """Hand on what the pipe holds, as far as it goes."""
        try:
            while self._held:
                sent = os.splice(pipe[0], self._sink, self._held, flags=_FLAGS)
                self._held -= sent
                self.moved += sent
        except BlockingIOError:
            pass

    def _end(self) -> None:
        self.stop()
        self._sink_socket.shutdown(socket.SHUT_WR)
        self._join.ended(self._sender)

    def _rest(self) -> None:
        assert self._pipe is not None
        _give_back(self._pipe, empty=True)
        self._pipe = None


def _borrow() -> tuple[int, int]:
    if _idle:
        return _idle.pop()
    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # this user has many: a small one will do
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE)
    return pipe


def _give_back(pipe: tuple[int, int], *, empty: bool) -> None:
    if empty and len(_idle) < IDLE_PIPES:
        _idle.append(pipe)
    else:
        for fd in pipe:
            os.close(fd)


def at_once(sock: socket.socket) -> None:
    """Send small pieces when they come (they were put together by whoever made them)."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def close(sock: socket.socket, *, reset: bool) -> None:
    if reset and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # it is gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
