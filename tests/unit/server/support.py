"""Snapshots, settings and a stand-in worker for the tests of the supervisor side."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.ports import LOOPBACK as LOOPBACK
from tests.ports import free_port as free_port
from usp.chain import Link
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.limits import Limits
from usp.model import FilterAction, ListenerType, Startup
from usp.secret import Secret
from usp.server.spool import Spool
from usp.server.supervisor import Supervisor
from usp.server.trail import Before, Trail
from usp.settings import ServerLimits, ServerSettings, ServerTls, ServerWeb
from usp.snapshot import (
    ClientSpec,
    Content,
    DirectSpec,
    FilterSpec,
    ListenerSpec,
    NodeSpec,
    PathSpec,
    RuleSpec,
    Snapshot,
    TargetSpec,
    TunnelSpec,
)

HERE = Path(__file__).resolve()
WORKER = ("/usr/bin/env", f"PYTHONPATH={HERE.parents[3]}", sys.executable, str(HERE.with_name("stand_in_worker.py")))
RULE = RuleSpec(
    id="rule",
    name="rule",
    method=InboundMethod.PASSWORD,
    source=InboundSource.NONE,
    outbound=OutboundCredentials.PASSTHROUGH,
)
TARGET = TargetSpec(id="target", name="target", host="127.0.0.1", port=22, host_keys=("ssh-ed25519 AAAA",))


def node(
    id: str = "node",
    *,
    allow: tuple[str, ...] = (),
    block: tuple[str, ...] = (),
    default: FilterAction = FilterAction.ALLOW,
) -> NodeSpec:
    rules = FilterSpec(allow=allow, block=block, default=default)
    return NodeSpec(id=id, name=id, filter=rules, host_keys=(Secret("key"),), rule=RULE)


def listener(
    id: str,
    port: int,
    *,
    address: str = LOOPBACK,
    startup: Startup = Startup.AUTO,
    path: PathSpec | None = None,
    nodes: tuple[NodeSpec, ...] = (node(),),
) -> ListenerSpec:
    return ListenerSpec(
        id=id,
        name=id,
        address=address,
        port=port,
        type=ListenerType.SFTP,
        startup=startup,
        path=path,
        nodes=nodes,
        target=TARGET,
    )


def direct(id: str, port: int, rules: FilterSpec) -> ListenerSpec:
    to = DirectSpec(filter=rules, host="127.0.0.1", port=22)
    return ListenerSpec(id=id, name=id, address=LOOPBACK, port=port, type=ListenerType.TCP, direct=to)


def tunnel(id: str, port: int, *, address: str = LOOPBACK) -> TunnelSpec:
    client = ClientSpec(id="client", name="client", public_key="ssh-ed25519 AAAA")
    return TunnelSpec(id=id, name=id, address=address, port=port, private_key=Secret("key"), clients=(client,))


def snapshot(version: int, *specs: ListenerSpec | TunnelSpec, server: str = "server") -> Snapshot:
    content = Content(
        listeners=tuple(spec for spec in specs if isinstance(spec, ListenerSpec)),
        tunnels=tuple(spec for spec in specs if isinstance(spec, TunnelSpec)),
    )
    return Snapshot.of(server, version, content)


def settings(
    *,
    workers: int = 2,
    drain: float = 2.0,
    max_sessions: int = 100,
    port: int = 1,
    tls: ServerTls | None = None,
    limits: Limits | None = None,
) -> ServerSettings:
    tls = tls or ServerTls(cert="cert", key="key", ca="ca")
    return ServerSettings(
        name="server",
        workers=workers,
        web=ServerWeb(address=LOOPBACK, port=port, tls=tls),
        limits=limits or Limits(),
        server=ServerLimits(drain_timeout=drain, max_sessions=max_sessions),
    )


async def greeting(port: int) -> bytes:
    """What somebody who connects hears first; nothing if refused."""
    async with connected(port) as (reader, _):
        return await hear(reader)


async def hear(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.readline(), 5)
    except ConnectionResetError:
        return b""


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def supervised(
    effective: ServerSettings | None = None, audit: Callable[[str], object] = lambda line: None
) -> AsyncIterator[Supervisor]:
    """A running supervisor with stand-in workers; none is left afterwards."""
    supervisor = Supervisor(effective or settings(), audit, WORKER)
    try:
        await supervisor.start()
        yield supervisor
    finally:
        await supervisor.kill()


class Lines(list[bytes]):
    """A trail's file."""

    dropped = 0
    queued = 0

    def put(self, line: bytes) -> None:
        self.append(line)


def trail(file: Lines | None = None, size: int = 1 << 20) -> Trail:
    return Trail(file if file is not None else Lines(), Spool(size), Before(Link("server", "00000000000000aa")))
