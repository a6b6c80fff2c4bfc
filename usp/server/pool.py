"""The connections to targets of one worker. A session leases one: of its own, or one that it shares.

They are shared where the Outbound Node says `connection_reuse` and the credentials are the Rule's. What sessions must
have in common is compared by value (`_key`): the whole target with its pinned keys, the link, the user name at the
target and every credential. So what a new snapshot changes is dialled anew, and what it leaves alone goes on. The
address must be the one that would be dialled now.

- A dial under way is joined. It is made once, whoever waits for it; when it fails, it fails for all of them.
- A connection that nobody uses is kept for `KEPT` seconds, and takes new sessions for `FRESH` seconds.
- One that was silent is asked for a sign of life first; without one, it takes no more sessions.
- Each session has sftp channels of its own. When the target refuses one, the session gets a connection of its own.
- When a connection is lost, exactly the sessions that lease it hear of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from usp import metrics
from usp.errors import UspError
from usp.log import get_logger
from usp.server import outbound
from usp.server.exchange import TargetEnd
from usp.server.inbound import WINDOW
from usp.server.outbound import Lost, Target
from usp.server.targets import Place
from usp.server.tunnels import Link
from usp.server.watch import Watch
from usp.snapshot import PathSpec
from usp.ssh import connect
from usp.ssh.connect import ClientConnection, Login
from usp.tasks import TaskSet

log = get_logger(__name__)

_HANDSHAKE: Final = metrics.HANDSHAKE_SECONDS.labels("target")

KEPT: Final = 10.0
"""Seconds that a connection without sessions is kept."""
FRESH: Final = 600.0
"""Seconds that a connection takes new sessions: a login that the target would refuse by now is of use no longer."""
SILENT: Final = 1.0
"""Seconds after which a sign of life is asked for,"""
SIGN: Final = 2.0
"""and within which it must come: else the target may be gone, or the way to it is so full that a new one is better."""
PARTING: Final = 2.0
"""Seconds that a session's channels have to close when the connection goes on without it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to log in, by which way, and as whom. `shared`: with others who want the same. (They could not share the
    `header`, which says for whom.)"""

    target: Target
    path: PathSpec | None
    link: Link | None
    login: Login
    shared: bool = False
    header: bytes = b""


class Lease:
    """A session's right to a connection, until it is released. `lost` is called when the connection is.

    `shared`: where it may get another one. A password that was passed through is not kept for that.
    """

    def __init__(self, pool: Pool, shared: Destination | None, lost: Lost) -> None:
        self.shared = shared
        self.lost = lost
        self.address = ""
        self.reused = False
        """The connection was there already, or on its way."""
        self._pool = pool
        self._connections: list[_Connection] = []  # the last one takes the next channel
        self._opening = asyncio.Lock()
        self._over = asyncio.Event()

    def entered(self, connection: _Connection, *, reused: bool) -> None:
        self._connections.append(connection)
        self.address, self.reused = str(connection.place), reused

    async def open_sftp(self, end: TargetEnd) -> None:
        """A channel with the `sftp` subsystem; its events go to `end`."""
        async with self._opening:
            try:
                await self._open(end)
            except UspError as error:
                connection = self._connections[-1] if self._connections else None
                if error.code != "target.no_channel" or not (self.shared and connection and connection.channels):
                    raise
                names = {"target": self.shared.target.spec.name, "channels": len(connection.channels)}
                log.warn("target.channels", exc_info=error, **names)
                await self._pool.give_own(self, self.shared, connection.place)
                if connection in self._connections and not connection.channels_of(self):
                    self._connections.remove(connection)
                    await self._pool.leave(connection, self)
                await self._open(end)
            finally:
                if self._over.is_set():  # meanwhile
                    await self.release()

    async def _open(self, end: TargetEnd) -> None:
        if self._over.is_set():
            raise UspError("target.closed", "the session is over")
        await self._pool.open_sftp(self._connections[-1], self, end)
        if self._over.is_set() and end.channel:
            end.channel.close()

    async def release(self) -> None:
        """The session is over."""
        self._over.set()
        while self._connections:
            await self._pool.leave(self._connections.pop(), self)


class _Connection:
    """One connection, from its dial on. `place`: where it is dialled first, then where it is."""

    def __init__(self, destination: Destination, place: Place, until: float, key: Hashable | None) -> None:
        spec = destination.target.spec
        self.name = spec.name
        self.link = destination.link
        self.place = place
        self.key = key
        self.room = spec.sessions_per_connection if key else 1  # for so many sessions
        self.until = until  # it takes new sessions
        self.heard = 0.0
        self.leases: set[Lease] = set()
        self.dial: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()
        self.failure: UspError | None = None
        self.kept: asyncio.TimerHandle | None = None
        self._ends: dict[TargetEnd, Lease] = {}
        self._ssh: ClientConnection | None = None

    @property
    def ssh(self) -> ClientConnection:
        assert self._ssh is not None, "settled, without a failure"
        return self._ssh

    @property
    def made(self) -> bool:
        return self._ssh is not None

    def up(self, ssh: ClientConnection, place: Place, now: float) -> None:
        self._ssh, self.place, self.heard = ssh, place, now

    @property
    def channels(self) -> list[TargetEnd]:
        """Those that are open."""
        return [end for end in self._ends if end.channel]

    def channels_of(self, lease: Lease) -> list[TargetEnd]:
        return [end for end in self.channels if self._ends[end] is lease]

    def expect(self, end: TargetEnd, lease: Lease) -> None:
        self._ends = {**{open: self._ends[open] for open in self.channels}, end: lease}

    def has_room(self, place: Place, now: float) -> bool:
        return place == self.place and len(self.leases) < self.room and now < self.until

    def may_be_kept(self, now: float) -> bool:
        """There may be somebody else for it."""
        usable = self.link is None or self.link.usable
        return self.key is not None and self.room > 0 and now < self.until and usable


class Pool:
    """`timeout`: seconds for a dial, and for a channel."""

    def __init__(self, watch: Watch, timeout: float) -> None:
        self._watch = watch
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._all: set[_Connection] = set()
        self._shared: dict[Hashable, list[_Connection]] = {}
        self._dials = TaskSet()

    async def acquire(self, destination: Destination, lost: Lost) -> Lease:
        """Logged in. UspError target.* or tunnel.* when that fails."""
        lease = Lease(self, destination if destination.shared else None, lost)
        spec = destination.target.spec
        order = self._watch.order(spec, destination.path)
        key = _key(destination) if destination.shared else None
        while (connection := self._with_room(key, order[0])) is not None:
            if await self._enter(connection, lease, reused=True):
                return lease
        await self._enter_new(destination, order, key, lease)
        return lease

    async def give_own(self, lease: Lease, destination: Destination, place: Place) -> None:
        """One more connection, for this lease alone."""
        await self._enter_new(destination, [place], None, lease)

    async def open_sftp(self, connection: _Connection, lease: Lease, end: TargetEnd) -> None:
        connection.expect(end, lease)
        try:
            await outbound.open_sftp(connection.ssh, end, WINDOW, self._timeout)
        except UspError as error:
            refused = error.code == "target.no_channel"
            connection.room = min(connection.room, len(connection.channels)) if refused else 0
            raise
        connection.heard = self._loop.time()

    async def leave(self, connection: _Connection, lease: Lease) -> None:
        """Without this lease, which closes what it has open."""
        if connection.key is not None and connection in self._all:
            await _part(connection, lease)
        connection.leases.discard(lease)
        if connection.leases or connection not in self._all:
            return
        if not connection.made:
            self._drop(connection)
            assert connection.dial is not None
            connection.dial.cancel()
        elif connection.may_be_kept(self._loop.time()):
            connection.kept = self._loop.call_later(KEPT, self._close, connection)
        else:
            self._close(connection)
            await connection.ssh.wait_closed()

    async def aclose(self) -> None:
        """Nobody needs any of them."""
        await self._dials.cancel()
        for connection in tuple(self._all):
            connection.ssh.close()
            await connection.ssh.wait_closed()

    # --- entering ---

    def _with_room(self, key: Hashable | None, place: Place) -> _Connection | None:
        """The first: so that the others become empty, and are closed."""
        now = self._loop.time()
        return next((each for each in self._shared.get(key, ()) if each.has_room(place, now)), None)

    async def _enter_new(
        self, destination: Destination, order: Sequence[Place], key: Hashable | None, lease: Lease
    ) -> None:
        connection = _Connection(destination, order[0], self._loop.time() + FRESH, key)
        self._all.add(connection)
        if key is not None:
            self._shared.setdefault(key, []).append(connection)
        connection.dial = self._dials.spawn(self._dial(connection, destination, order), f"dial of {connection.name}")
        if not await self._enter(connection, lease, reused=False):
            raise UspError("target.closed")

    async def _enter(self, connection: _Connection, lease: Lease, *, reused: bool) -> bool:
        """Once it is up. False: it lives no longer."""
        connection.leases.add(lease)
        if connection.kept:
            connection.kept.cancel()
        entered = False
        try:
            await connection.settled.wait()
            if connection.failure:
                raise UspError(connection.failure.code, connection.failure.message) from connection.failure
            entered = await self._lives(connection)
        finally:
            if entered:
                lease.entered(connection, reused=reused)
            else:
                await self.leave(connection, lease)
        return entered

    async def _lives(self, connection: _Connection) -> bool:
        if self._loop.time() - connection.heard > SILENT:
            try:
                async with asyncio.timeout(SIGN):
                    await connect.round_trip(connection.ssh)
            except TimeoutError:
                connection.room = 0
                return False
            connection.heard = self._loop.time()
        return connection in self._all

    # --- from the dial to the end ---

    async def _dial(self, connection: _Connection, to: Destination, order: Sequence[Place]) -> None:
        failure = UspError("internal")
        lost = partial(self._lost, connection)
        began = self._loop.time()
        try:
            ssh, place = await outbound.reach(
                to.target, order, to.login, to.link, lost, self._timeout, self._watch, to.header
            )
            if ssh.is_closed():
                raise UspError("target.closed")
        except UspError as error:
            failure = error
        else:
            connection.up(ssh, place, self._loop.time())
            metrics.TARGET_CONNECTIONS.labels(connection.name).inc()
            _HANDSHAKE.observe(self._loop.time() - began)
        finally:
            if not connection.made:
                connection.failure = failure
                self._drop(connection)
            connection.settled.set()

    def _lost(self, connection: _Connection, exc: Exception | None) -> None:
        if connection.made:  # else it was an attempt, or nobody's yet
            self._drop(connection)
            for lease in tuple(connection.leases):
                lease.lost(exc)

    def _close(self, connection: _Connection) -> None:
        self._drop(connection)
        connection.ssh.close()

    def _drop(self, connection: _Connection) -> None:
        """Nobody finds it any more."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        if connection.kept:
            connection.kept.cancel()
        if connection.made:
            metrics.TARGET_CONNECTIONS.labels(connection.name).dec()
        if connection.key is not None:
            left = self._shared[connection.key]
            left.remove(connection)
            if not left:
                del self._shared[connection.key]


def _key(destination: Destination) -> Hashable:
    """What those who share a connection have in common."""
    login = destination.login
    proofs = tuple(pair.public_data for pair in login.keys)
    return destination.target.spec, destination.link, login.username, login.password, proofs


async def _part(connection: _Connection, lease: Lease) -> None:
    """Close this lease's channels, after all that was written to them. One that does not close: no more sessions."""
    channels = [end.channel for end in connection.channels_of(lease) if end.channel]
    for channel in channels:
        channel.close()
    try:
        async with asyncio.timeout(PARTING):
            for channel in channels:
                await channel.wait_closed()
    except TimeoutError:
        connection.room = 0
        for channel in channels:
            channel.abort()
