"""Direct Mode for tests: a front that serves partners by `Direct`, directly or through a real tunnel link."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests import tunnel_pair
from usp.model import ListenerType
from usp.server.direct import Direct
from usp.server.messages import Partner
from usp.server.session import Limits
from usp.server.throttle import Throttle
from usp.server.tunnels import Link
from usp.snapshot import DirectSpec, FilterSpec, ListenerSpec, PathSpec
from usp.status import Outcome
from usp.tasks import TaskSet

WAYS = ("directly", "through_link")
LIMITS = Limits(5, 1, 60)
RESET = struct.pack("ii", 1, 0)


class Front:
    def __init__(
        self,
        port: int,
        link: Callable[[], Link | None],
        limits: Limits,
        *,
        tunnelled: bool,
        send_proxy_v2: bool = False,
    ) -> None:
        self.listener = ListenerSpec(
            id="d1",
            name="tcp",
            address="127.0.0.1",
            port=2224,
            type=ListenerType.TCP,
            path=PathSpec(tunnel="t1", client="client-1") if tunnelled else None,
            direct=DirectSpec(filter=FilterSpec(), host="127.0.0.1", port=port, send_proxy_v2=send_proxy_v2),
        )
        self.live: list[Direct] = []
        self.facts: list[dict[str, Any]] = []
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.throttle = Throttle(asyncio.get_running_loop())
        self._link, self._limits = link, limits
        self._tasks = TaskSet()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._tasks.spawn(self._accept(), "accept")

    async def _accept(self) -> None:
        while True:
            sock, peer = await asyncio.get_running_loop().sock_accept(self._listening)
            ticket = Partner(
                session=f"s{len(self.live)}", version=1, listener="d1", node="", peer_host=peer[0], peer_port=peer[1]
            )
            session = Direct(ticket, self.listener, self._limits, self._link, self.facts.append, self.throttle)
            self.live.append(session)
            self._tasks.spawn(self._serve(session, sock), "session")

    async def _serve(self, session: Direct, sock: socket.socket) -> None:
        self.outcomes.put_nowait(await session.run(sock))

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(5):
            return await self.outcomes.get()

    def told(self) -> list[str]:
        return [fact["event"] for fact in self.facts]

    @asynccontextmanager
    async def partner(self) -> AsyncIterator[socket.socket]:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            yield sock

    async def close(self) -> None:
        for session in self.live:
            session.end(Outcome.DRAINED)
        await asyncio.sleep(0)
        await self._tasks.cancel()
        self._listening.close()
        assert self.outcomes.empty(), "a session nobody asked about"


class Targets:
    """A TCP server whose connections the test holds in its hands."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._made: list[socket.socket] = []

    async def next(self) -> socket.socket:
        async with asyncio.timeout(5):
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        self._made.append(sock)
        return sock

    def close(self) -> None:
        self._listening.close()
        for sock in self._made:
            sock.close()


@asynccontextmanager
async def front(
    way: str, limits: Limits = LIMITS, port: int = 0, *, send_proxy_v2: bool = False
) -> AsyncIterator[tuple[Front, Targets]]:
    async with contextlib.AsyncExitStack() as stack:
        targets = Targets()
        stack.callback(targets.close)
        link: Callable[[], Link | None] = lambda: None  # noqa: E731
        if way == "through_link":
            gate = await stack.enter_async_context(tunnel_pair.gate())
            await stack.enter_async_context(tunnel_pair.client(gate.port))
            await tunnel_pair.until(lambda: gate.workers[0].get("t1", "client-1"))
            link = lambda: gate.workers[0].get("t1", "client-1")  # noqa: E731
        tunnelled = way != "directly"
        made = Front(port or targets.port, link, limits, tunnelled=tunnelled, send_proxy_v2=send_proxy_v2)
        stack.push_async_callback(made.close)
        yield made, targets


async def read_all(sock: socket.socket) -> bytes:
    parts = []
    async with asyncio.timeout(10):
        while part := await asyncio.get_running_loop().sock_recv(sock, 1 << 18):
            parts.append(part)
    return b"".join(parts)


async def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while len(data) < count:
            part = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
            assert part, "it ended too soon"
            data += part
    return data


async def send(sock: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(10):
        await asyncio.get_running_loop().sock_sendall(sock, data)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
