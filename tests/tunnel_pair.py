"""Both ends of a tunnel on loopback, for tests: `Gate` is the supervisor that accepts and hands out sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from usp.client.allow import AllowList
from usp.client.tunnels import Limits, Tunnel, Where
from usp.secret import Secret
from usp.server.messages import LinkChanged
from usp.server.tunnels import Link, Links
from usp.snapshot import ClientSpec, TunnelSpec
from usp.ssh import keys
from usp.ssh.options import Timing
from usp.status import LinkState

TUNNEL_KEY, TUNNEL_PUBLIC = keys.generate()
CLIENT_KEY, CLIENT_PUBLIC = keys.generate()
OTHER_KEY, OTHER_PUBLIC = keys.generate()

TIMING = Timing(login_timeout=2.0, keepalive_interval=1.0, keepalive_count=3)
SPEC = TunnelSpec(
    id="t1",
    name="tunnel",
    address="127.0.0.1",
    port=2200,
    private_key=TUNNEL_KEY,
    clients=(ClientSpec(id="c1", name="client-1", public_key=CLIENT_PUBLIC),),
)


async def until(condition: Callable[[], object], timeout: float = 2.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  (of any kind)
            await asyncio.sleep(0.005)


class Gate:
    """Accepts connections and gives them to the worker that lacks a link, as the supervisor does."""

    def __init__(self, slots: int, timing: Timing) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        self.changes: list[LinkChanged] = []
        self.workers = [Links("server-1", slot, slots, timing, self.changes.append) for slot in range(slots)]
        self.spec = SPEC
        self.accepted = 0
        self._task = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        while True:
            sock, peer = await asyncio.get_running_loop().sock_accept(self.sock)
            self.accepted += 1
            lacking = min(self.workers, key=lambda links: len(links.all()))
            lacking.adopt(sock, self.spec, f"link-{self.accepted}", f"{peer[0]}:{peer[1]}")

    def link(self, slot: int = 0, client: str = "client-1") -> Link:
        link = self.workers[slot].get("t1", client)
        assert link is not None
        return link

    def states(self, link: str) -> list[LinkState]:
        return [change.state for change in self.changes if change.link == link]

    def reasons(self) -> list[str]:
        return [change.reason for change in self.changes if change.state is LinkState.DOWN]

    async def close(self) -> None:
        self._task.cancel()
        self.sock.close()
        for links in self.workers:
            await links.aclose()


@asynccontextmanager
async def gate(slots: int = 1, timing: Timing = TIMING) -> AsyncIterator[Gate]:
    made = Gate(slots, timing)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def client(
    port: int,
    *,
    name: str = "client-1",
    instance: str = "instance-1",
    key: Secret = CLIENT_KEY,
    server_key: str = TUNNEL_PUBLIC,
    allow: tuple[str, ...] = ("127.0.0.0/8:*",),
    timing: Timing = TIMING,
    connect_timeout: float = 1.0,
) -> AsyncIterator[Tunnel]:
    where = Where("127.0.0.1", port, server_key, key, name, instance)
    tunnel = Tunnel(where, AllowList.of(allow), Limits(timing, connect_timeout, 0.02, 0.1))
    tunnel.start()
    try:
        yield tunnel
    finally:
        await tunnel.aclose()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def target(serve: Serve) -> AsyncIterator[int]:
    """A TCP server on loopback; gives its port."""
    writers: list[asyncio.StreamWriter] = []

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class Proxy:
    """A TCP relay that can turn into a black hole: it stays connected and passes nothing on."""

    def __init__(self, to_port: int) -> None:
        self.hole = False
        self._to = to_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        self._spawn(self._accept())

    def _spawn(self, coro: object) -> None:
        task = asyncio.ensure_future(coro)  # type: ignore[call-overload]
        self._tasks.add(task)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._sock)
            far = socket.socket()
            far.setblocking(False)
            await loop.sock_connect(far, ("127.0.0.1", self._to))
            self._spawn(self._pump(near, far))
            self._spawn(self._pump(far, near))

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(source, 65536):
                if not self.hole:
                    await loop.sock_sendall(sink, data)
            if self.hole:
                await asyncio.sleep(3600)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()
