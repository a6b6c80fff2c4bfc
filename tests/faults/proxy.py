"""A TCP proxy that does to connections what networks and dying hosts do, on the order of a test.

It runs in a thread with an event loop of its own, so a test may be synchronous and daemons are as far away as they are
from any other process. All orders take effect at once, for connections that are there and for those that come.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal

PIECE: Final = 64 << 10
UNDER_WAY: Final = 1 << 20
"""Bytes that one direction of a connection holds: a line's bandwidth times its delay, and no more."""
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: close() sends RST."""

Way = Literal["there", "back"]
"""From who dialled, or towards them."""
Action = Literal["reset", "hole"]


@dataclass
class Trip:
    """After so many bytes that way (of all connections together), this happens once."""

    way: Way
    after: int
    action: Action


@dataclass(eq=False)
class Pipe:
    """One direction of a connection: what was read and is not due yet."""

    way: Way
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    held: int = 0
    last: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FaultProxy:
    """`port` leads to `to`, which may be changed: a name that moved to another host. `passed` counts bytes; `dialled`
    connections. Orders: `delay` and `jitter` (seconds each way), `rate` (bytes a second each way), `hole` (nothing
    passes, nothing ends: a host that is gone), `refuse` (connections are reset at once), `reset()`, `trip`."""

    def __init__(self, to: int | tuple[str, int]) -> None:
        self.to = ("127.0.0.1", to) if isinstance(to, int) else to
        self.delay = self.jitter = 0.0
        self.rate = 0.0
        self.refuse = False
        self.trip: Trip | None = None
        self.passed: dict[Way, int] = {"there": 0, "back": 0}
        self.dialled = 0
        self.port = 0
        self._open = threading.Event()  # cleared: a black hole
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # a test's orders

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def hole(self) -> bool:
        return not self._open.is_set()

    @hole.setter
    def hole(self, wanted: bool) -> None:
        (self._open.clear if wanted else self._open.set)()

    def reset(self) -> int:
        """RST to both ends of every connection; how many there were."""
        cut = asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result(10)
        return cut // 2

    @contextmanager
    def broken(self) -> Iterator[None]:
        """A black hole meanwhile."""
        self.hole = True
        try:
            yield
        finally:
            self.hole = False

    # its own thread

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=PIECE)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._over.wait()
        server.close()
        await self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset(self) -> int:
        count = len(self._writers)
        for writer in list(self._writers):
            _abort(writer)
        return count

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        mine = [writer]
        self._writers.add(writer)
        try:
            if self.refuse:
                _abort(writer)
                return
            await self._passable()
            back_reader, back_writer = await asyncio.open_connection(*self.to, limit=PIECE)
            self._writers.add(back_writer)
            mine.append(back_writer)
            await asyncio.gather(
                self._pass(Pipe("there", reader, back_writer)), self._pass(Pipe("back", back_reader, writer))
            )
        except (OSError, asyncio.CancelledError):
            pass  # of its end, streams would tell the log
        finally:
            for each in mine:
                self._writers.discard(each)
                each.close()

    async def _passable(self) -> None:
        while self.hole:  # noqa: ASYNC110  (the order comes from another thread)
            await asyncio.sleep(0.01)

    async def _pass(self, pipe: Pipe) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(pipe))
            group.create_task(self._give(pipe))

    async def _take(self, pipe: Pipe) -> None:
        """Read, and say when it is due at the other end. b"" is the end."""
        loop = asyncio.get_running_loop()
        data = b"begin"
        while data:
            while pipe.held >= UNDER_WAY:  # noqa: ASYNC110  (one waiter, in a test's tool)
                await asyncio.sleep(0.005)
            try:
                data = await pipe.reader.read(PIECE)
            except OSError:
                data = b""
            due = max(pipe.last, loop.time() + self.delay + random.uniform(0, self.jitter))
            pipe.last = due + (len(data) / self.rate if self.rate else 0.0)
            pipe.waiting.append((pipe.last, data))
            pipe.held += len(data)
            pipe.changed.set()

    async def _give(self, pipe: Pipe) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not pipe.waiting:
                pipe.changed.clear()
                await pipe.changed.wait()
            due, data = pipe.waiting.popleft()
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            await self._passable()
            pipe.held -= len(data)
            if not data:
                with suppress(OSError):
                    pipe.writer.write_eof()
                return
            data = await self._tripped(pipe, data)
            with suppress(OSError):
                pipe.writer.write(data)
                await pipe.writer.drain()
            self.passed[pipe.way] += len(data)

    async def _tripped(self, pipe: Pipe, data: bytes) -> bytes:
        """What still passes when the trip is due."""
        trip = self.trip
        if trip is None or trip.way != pipe.way or trip.after >= len(data):
            if trip and trip.way == pipe.way:
                trip.after -= len(data)
            return data
        self.trip = None
        pipe.writer.write(data[: trip.after])
        with suppress(OSError):
            await pipe.writer.drain()
        if trip.action == "hole":
            self.hole = True
            await self._passable()
            return data[trip.after :]
        await self._reset()
        return b""


def _abort(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port where a connection hangs: its backlog is full, so the kernel answers no SYN."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
                waiting.append(sock)
            yield port
        finally:
            for sock in waiting:
                sock.close()
