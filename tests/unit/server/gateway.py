"""Real parts for tests of a session: an SFTP target, a gateway of Sessions on a loopback port, and partners."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
from argon2 import PasswordHasher
from asyncssh.stream import SSHServerStreamSession

from usp.algorithms import Algorithms
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.model import FilterAction, ListenerType
from usp.passwords import REMEMBERED_SECONDS, Passwords
from usp.secret import Secret
from usp.server.messages import Partner
from usp.server.pool import Pool
from usp.server.prepared import Door, Prepared, prepare
from usp.server.session import Limits, Session
from usp.server.throttle import Throttle
from usp.server.trials import Trial, free
from usp.server.tunnels import Link
from usp.server.watch import Watch
from usp.settings import ServerSettings
from usp.snapshot import (
    AccountSpec,
    Content,
    CredentialsSpec,
    FilterSpec,
    ListenerSpec,
    NodeSpec,
    PathSpec,
    RepositorySpec,
    RuleSpec,
    Snapshot,
    TargetSpec,
    TunnelSpec,
)
from usp.ssh import keys
from usp.status import Outcome
from usp.tasks import TaskSet

RawSession = Callable[[], asyncssh.SSHServerSession[bytes]]

USER, PASSWORD = "alice", "correct horse"
HOST_KEY, HOST_LINE = keys.generate()
TARGET_KEY, TARGET_LINE = keys.generate()
OTHER_KEY, OTHER_LINE = keys.generate()
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Cheap: tests have little time."""
TUNNEL = TunnelSpec(id="t1", name="tunnel", address="127.0.0.1", port=4000, private_key=OTHER_KEY)


def settings(target_failures: int = 0, **server: Any) -> ServerSettings:
    """Without a target guard, for which a supervisor has to be asked, if not said otherwise."""
    tls = {"cert": "c", "key": "k", "ca": "a"}
    limits = {"target_failures": target_failures}
    return ServerSettings.model_validate({"name": "s1", "web": {"tls": tls}, "server": server, "limits": limits})


def rule(
    method: InboundMethod = InboundMethod.PASSWORD,
    source: InboundSource = InboundSource.NONE,
    out: OutboundCredentials = OutboundCredentials.PASSTHROUGH,
    dedicated: CredentialsSpec | None = None,
    trusted_ca_keys: tuple[str, ...] = (),
) -> RuleSpec:
    """Its Account Repository is "a1"."""
    return RuleSpec(
        id="r1",
        name="rule",
        method=method,
        source=source,
        outbound=out,
        repository="a1" if source is InboundSource.ACCOUNT_REPOSITORY else None,
        trusted_ca_keys=trusted_ca_keys,
        dedicated=dedicated,
    )


def snapshot(
    port: int,
    *,
    version: int = 1,
    pinned: str = TARGET_LINE,
    path: PathSpec | None = None,
    server: str = "s1",
    of: RuleSpec | None = None,
    accounts: Sequence[AccountSpec] = (),
    banner: str = "",
    host_keys: tuple[Secret, ...] = (HOST_KEY,),
    algorithms: Algorithms = Algorithms(),  # noqa: B008  (it is frozen)
    **at_target: Any,
) -> Snapshot:
    """`of`: the node's Rule, by default 1. `at_target`: more fields of the target."""
    node = NodeSpec(
        id="n1",
        name="node",
        filter=FilterSpec(default=FilterAction.ALLOW),
        host_keys=host_keys,
        rule=of or rule(),
        banner=banner,
        algorithms=algorithms,
    )
    target = TargetSpec(id="o1", name="target", host="127.0.0.1", port=port, host_keys=(pinned,), **at_target)
    repositories = (RepositorySpec(id="a1", name="accounts", accounts=tuple(accounts)),) if accounts else ()
    listener = ListenerSpec(
        id="l1",
        name="partners",
        address="127.0.0.1",
        port=2222,
        type=ListenerType.SFTP,
        nodes=(node,),
        target=target,
        path=path,
    )
    tunnels = (TUNNEL,) if path else ()
    return Snapshot.of(server, version, Content(listeners=(listener,), tunnels=tunnels, repositories=repositories))


def prepared(made: Snapshot) -> Prepared:
    ready, problems = prepare(made.to_wire(), made.server, settings())
    assert ready is not None, problems
    return ready


class Target:
    """An SFTP server on a directory. `connections`: those that live. `seen`: (user name, method) of login attempts.

    It accepts USER with PASSWORD, and the keys in `authorized` (public lines) of anybody; `users`: more passwords;
    `max_channels` of a connection, if it limits them. While `judging` is not set, logins wait.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: list[tuple[str, str]] = []
        self.users = {USER: PASSWORD}
        self.authorized: set[str] = set()
        self.max_channels = 0
        self.judging = asyncio.Event()
        self.judging.set()
        self.port = 0
        self.logins = 0
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, *, sftp: bool = True, session: RawSession | None = None, window: int = 2 << 20) -> None:
        target = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self.conn = conn
                target.connections.add(conn)

            def connection_lost(self, exc: Exception | None) -> None:
                target.connections.discard(self.conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return bool(target.authorized)

            def session_requested(self) -> asyncssh.SSHServerSession[bytes] | bool:
                if target.max_channels and len(self.conn._channels) < target.max_channels:
                    return SSHServerStreamSession(None, factory, 3)
                return session() if session else False

            async def validate_password(self, username: str, password: str) -> bool:
                target.logins += 1
                target.seen.append((username, "password"))
                await target.judging.wait()
                return target.users.get(username) == password

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                target.seen.append((username, "publickey"))
                return keys.public_line(key) in target.authorized

        def factory(chan: Any) -> asyncssh.SFTPServer:
            return asyncssh.SFTPServer(chan, chroot=str(self.root).encode())

        self._acceptor = await asyncssh.create_server(
            Server,
            "127.0.0.1",
            0,
            config=None,
            server_host_keys=[keys.parse_private(TARGET_KEY)],
            sftp_factory=factory if sftp and not session and not self.max_channels else None,
            encoding=None,
            window=window,
        )
        self.port = self._acceptor.get_port()

    async def stop(self) -> None:
        if self._acceptor:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        for connection in tuple(self.connections):
            connection.abort()
            await connection.wait_closed()


class Gateway:
    """Accepts partners and serves each by a Session; keeps their outcomes and facts, and who was admitted or denied."""

    def __init__(self, door: Door, limits: Limits, link: Callable[[], Link | None]) -> None:
        self.door, self.limits, self.link = door, limits, link
        self.live: list[Session] = []
        self.facts: list[dict[str, Any]] = []
        self.decided: list[tuple[bool, str]] = []
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.trial: Callable[[str], AbstractAsyncContextManager[Trial]] = lambda username: free()
        self.passwords = Passwords(HASHER, remember=REMEMBERED_SECONDS)
        self.pool = Pool(Watch(lambda path: link(), lambda health: None, limits.connect), limits.connect)
        self.throttle = Throttle(asyncio.get_running_loop())
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.port: int = self.listening.getsockname()[1]
        self._tasks = TaskSet()
        self._tasks.spawn(self._accept(), "accept")

    async def _accept(self) -> None:
        while True:
            sock, peer = await asyncio.get_running_loop().sock_accept(self.listening)
            ticket = Partner(
                session=f"s{len(self.live)}", version=1, listener="l1", node="n1", peer_host=peer[0], peer_port=peer[1]
            )
            session = Session(
                ticket,
                self.door,
                self.limits,
                self.link,
                self.facts.append,
                self.passwords,
                lambda admitted, username: self.decided.append((admitted, username)),
                pool=self.pool,
                trial=self.trial,
                throttle=self.throttle,
            )
            self.live.append(session)
            self._tasks.spawn(self._serve(session, sock), "session")

    async def _serve(self, session: Session, sock: socket.socket) -> None:
        self.outcomes.put_nowait(await session.run(sock))

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(5):
            return await self.outcomes.get()

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fact for fact in self.facts if fact["event"] == event]

    async def close(self) -> None:
        for session in self.live:
            session.end(Outcome.DRAINED)
        await asyncio.sleep(0)
        await self._tasks.cancel()
        await self.pool.aclose()
        self.listening.close()
        self.passwords.close()
        assert self.outcomes.empty(), "a session nobody asked about"

    @asynccontextmanager
    async def partner(
        self, password: str | None = PASSWORD, **options: Any
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        connection = await asyncssh.connect(
            "127.0.0.1",
            self.port,
            config=None,
            password=password,
            **{
                "known_hosts": ([keys.parse_public(HOST_LINE)], [], []),
                "client_keys": None,
                "username": USER,
                **options,
            },
        )
        try:
            yield connection
        finally:
            connection.close()
            await connection.wait_closed()


def limits(login: float = 5, connect: float = 2, idle: float = 60) -> Limits:
    return Limits(login, connect, idle)


@asynccontextmanager
async def serving(
    port: int, limits_: Limits | None = None, link: Callable[[], Link | None] = lambda: None, **made: Any
) -> AsyncIterator[Gateway]:
    """A gateway towards a target on `port`."""
    door = prepared(snapshot(port, **made)).doors["l1", "n1"]
    gateway = Gateway(door, limits_ or limits(), link)
    try:
        yield gateway
    finally:
        await gateway.close()
