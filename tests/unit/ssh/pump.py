"""Two SSH connections without sockets: what one writes waits until a test hands it on, in pieces of the test's choice.

`KINDS` are the ways to be an end: with the fast path, with it switched off, and asyncssh itself, the reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import asyncssh

from usp.algorithms import Algorithms
from usp.ssh import connect, keys, options
from usp.ssh.sending import write

PRIVATE, PUBLIC = keys.generate()
PATIENCE: Final = 20.0
"""Seconds after which something hangs."""

Result = TypeVar("Result")


class FastServer(connect.ServerConnection):
    fast = True


class FastClient(connect.ClientConnection):
    fast = True


class OffServer(connect.ServerConnection):
    fast = False


class OffClient(connect.ClientConnection):
    fast = False


class StockServer(asyncssh.SSHServerConnection):
    async def reload_config(self) -> None:
        """As ours: not in a thread."""


class StockClient(asyncssh.SSHClientConnection):
    pass


KINDS: Final = {
    "fast": (FastServer, FastClient),
    "off": (OffServer, OffClient),
    "asyncssh": (StockServer, StockClient),
}


class Way(asyncio.Transport):
    """One connection's transport. What it wrote waits here; `other` is where it leads."""

    other: Way
    protocol: Any

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.waiting = bytearray()
        self._closing = self._told = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self.waiting += data

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        """The connection is gone, as the protocol above hears once."""
        self._closing = True
        if not self._told:
            self._told = True
            self.protocol.connection_lost(None)

    @property
    def quiet(self) -> bool:
        return not self.waiting and (not self._closing or self.other._told)

    def carry(self, size: int) -> None:
        """Hand on the next bytes, or the end."""
        if piece := self.waiting[:size]:
            del self.waiting[:size]
            if self.other._closing:
                return
            if isinstance(self.other.protocol, connect.ServerConnection | connect.ClientConnection):
                self.other.protocol.data_received(memoryview(piece))
                piece[:] = bytes(len(piece))  # views are good during the call only
            else:
                self.other.protocol.data_received(bytes(piece))
        elif self._closing:
            self.other.lose()


class End:
    """Collects what comes in on a channel. After `bite` bytes it reads no more, until it is told to. `onto`: where it
    passes it on to, as a relay does."""

    def __init__(self, takes_views: bool) -> None:
        self.takes_views = takes_views
        self.channel: Any = None
        self.got = bytearray()
        self.errors = bytearray()
        self.eof = self.lost = False
        self.exc: Exception | None = None
        self.bite: int | None = None
        self.onto: End | None = None

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: Any, datatype: int | None) -> None:
        assert not self.eof
        assert not self.lost
        if datatype is None:
            self.got += data
            if self.onto is not None:
                write(self.onto.channel, data)
        else:
            self.errors += data
        if self.bite is not None:
            self.bite -= len(data)
            if self.bite <= 0:
                self.channel.pause_reading()

    def eof_received(self) -> bool:
        assert not self.eof, "the end comes once"
        self.eof = True
        if self.onto is not None:
            self.onto.channel.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.onto is not None:
            self.onto.channel.pause_reading()

    def resume_writing(self) -> None:
        if self.onto is not None:
            self.onto.channel.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost
        self.lost, self.exc = True, exc

    def read(self, bite: int | None) -> None:
        self.bite = bite
        if not self.lost:
            self.channel.resume_reading()

    @property
    def held(self) -> int:
        """Bytes that wait for a reader."""
        return sum(len(data) for data, _ in self.channel._recv_buf)


class ServerEnd(End, asyncssh.SSHServerSession[bytes]):
    def subsystem_requested(self, subsystem: str) -> bool:
        return True


class ClientEnd(End, asyncssh.SSHClientSession[bytes]):
    pass


class _Owner(asyncssh.SSHServer):
    def __init__(self, joined: Joined) -> None:
        self._joined = joined

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Any:
        return self._joined.serve_channel()


class Joined:
    """A server and a client, logged in, with channels between them. Index 0 is the client, 1 the server."""

    def __init__(self, kinds: tuple[str, str], pieces: Sequence[int], takes_views: bool) -> None:
        self.ways = Way(), Way()
        self.ways[0].other, self.ways[1].other = self.ways[1], self.ways[0]
        self.connections: list[Any] = []
        self.ends: tuple[list[ClientEnd], list[ServerEnd]] = [], []
        self.problems: list[dict[str, Any]] = []
        self._kinds = kinds
        self._pieces: list[Iterator[int]] = [itertools.cycle(pieces) for _ in self.ways]
        self._views = takes_views
        self._window = self._packet = 0

    async def log_in(self, cipher: str, rekey: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.problems.append(context))
        timing, algorithms = options.Timing(), Algorithms(ciphers=(cipher,))
        serving = options.one_use(options.partner_facing([PRIVATE], algorithms, timing))
        serving.protocol_factory = lambda: _Owner(self)
        speaking = options.one_use(options.target_facing([PUBLIC], algorithms, timing))
        speaking.protocol_factory = asyncssh.SSHClient
        speaking.host, speaking.port, speaking.username = "127.0.0.1", 1, "u"
        speaking.rekey_bytes = serving.rekey_bytes = rekey
        client, server = KINDS[self._kinds[0]][1], KINDS[self._kinds[1]][0]
        self.connections += await self.carrying(
            asyncio.gather(
                connect._run(client, speaking, self._start(0)),
                connect._run(server, serving, self._start(1)),
            )
        )

    def _start(self, side: int) -> connect.Start:
        async def start(factory: Callable[[], Any]) -> None:
            way = self.ways[side]
            way.protocol = factory()
            way.protocol.connection_made(way)

        return start

    async def open(self, window: int, packet: int) -> None:
        self._window, self._packet = window, packet
        _, end = await self.carrying(
            self.connections[0].create_session(
                lambda: ClientEnd(self._views), subsystem="x", encoding=None, window=window, max_pktsize=packet
            )
        )
        self.ends[0].append(end)

    def serve_channel(self) -> Any:
        end = ServerEnd(self._views)
        self.ends[1].append(end)
        channel = self.connections[1].create_server_channel(
            encoding=None, window=self._window, max_pktsize=self._packet
        )
        return channel, end

    async def carry(self, side: int, size: int) -> None:
        self.ways[side].carry(size)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Hand everything on until it is so. False: nothing moves any more, and it is not."""
        deadline, still = time.monotonic() + PATIENCE, 0
        while not condition():
            still = still + 1 if all(way.quiet for way in self.ways) else 0
            if time.monotonic() > deadline or (still > 50 and all(c._kex_complete for c in self.connections)):
                return False
            for side in (0, 1):
                await self.carry(side, next(self._pieces[side]))
        return True

    async def carrying(self, work: Awaitable[Result]) -> Result:
        """The result of work that needs what is under way."""
        task = asyncio.ensure_future(work)
        await self.until(task.done)
        return await asyncio.wait_for(task, PATIENCE)

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
            connection.abort()
        assert await self.until(lambda: all(way._told for way in self.ways))
        for connection in self.connections:
            await asyncio.wait_for(connection.wait_closed(), PATIENCE)


@contextlib.asynccontextmanager
async def joined(
    kinds: tuple[str, str] = ("fast", "fast"),
    *,
    cipher: str,
    pieces: Sequence[int] = (1 << 16,),
    rekey: int = 1 << 30,
    takes_views: bool = True,
) -> AsyncIterator[Joined]:
    """`kinds`: of the client and of the server. `pieces`: how many bytes are handed on at a time, in turn."""
    pair = Joined(kinds, pieces, takes_views)
    await pair.log_in(cipher, rekey)
    try:
        yield pair
    finally:
        await pair.close()
    assert not pair.problems
