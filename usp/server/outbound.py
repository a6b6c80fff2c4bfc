"""The target's leg: `reach`, directly or through a tunnel link (they differ by one argument), and its sftp channels.

A target may have several addresses. They are tried one after the other within one time, until one has been shown
credentials: from then on its word counts, whatever it is. Host keys are pinned in the target's options, the same ones
for all addresses, each credential is tried once (and after a key that was refused, none), and everything has an end in
time. What goes wrong comes out as a UspError `target.*` or `tunnel.*`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncssh

from usp.errors import UspError
from usp.log import get_logger
from usp.server.proxy import LOCAL
from usp.server.targets import DOWN, Place, places
from usp.server.tunnels import Link
from usp.server.watch import Watch
from usp.snapshot import TargetSpec
from usp.ssh import connect, failures
from usp.ssh.connect import ClientConnection, Login
from usp.ssh.login import Habits, LoginClient, TargetConnection

log = get_logger(__name__)

Lost = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class Target:
    """An Outbound Node with its options built: algorithms, pinned keys, keepalive."""

    spec: TargetSpec
    options: asyncssh.SSHClientConnectionOptions
    habits: Habits = field(default_factory=dict, compare=False)


class _TargetClient(LoginClient):
    def __init__(self, lost: Lost, habits: Habits) -> None:
        super().__init__(habits)
        self._lost = lost
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)

    @property
    def judges(self) -> bool:
        """The target has been shown credentials."""
        return isinstance(self._connection, TargetConnection) and self._connection.login_began


async def reach(
    target: Target,
    order: Sequence[Place],
    login: Login,
    link: Link | None,
    lost: Lost,
    timeout: float,
    watch: Watch,
    header: bytes = b"",
) -> tuple[ClientConnection, Place]:
    """Logged in at one of the target's addresses, tried in `order`, within `timeout` seconds, and at which.

    `lost`: see `dial`; `header` is sent first, if the target expects one.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    for left in range(len(order), 0, -1):
        place = order[-left]
        client = _TargetClient(lost, target.habits)
        try:
            connection = await _dial(target, place, login, link, client, (end - loop.time()) / left, header)
        except UspError as error:
            elsewhere = error.code in DOWN and not client.judges
            if elsewhere:
                watch.failed(place, error.code)
            elif error.code.startswith("target.") and error.code not in DOWN:
                watch.answered(place)
            if not elsewhere or left == 1:
                raise
            names = {"target": target.spec.name, "address": str(place), "next": str(order[1 - left])}
            log.warn("target.next_address", exc_info=error, **names)
        else:
            watch.answered(place)
            return connection, place
    raise AssertionError("a target has an address")


async def dial(target: Target, login: Login, link: Link | None, lost: Lost, timeout: float) -> ClientConnection:
    """Logged in at the target's first address within `timeout` seconds, from the first TCP packet to the last word.

    It is nobody's but our own. `lost` is called when the connection ends, also when it never came about.
    """
    client = _TargetClient(lost, target.habits)
    return await _dial(target, places(target.spec, None)[0], login, link, client, timeout, LOCAL)


async def _dial(
    target: Target,
    place: Place,
    login: Login,
    link: Link | None,
    client: _TargetClient,
    timeout: float,
    header: bytes,
) -> ClientConnection:
    try:
        async with asyncio.timeout(timeout):
            return await connect.dial(
                place.host,
                place.port,
                target.options,
                login,
                connect_timeout=timeout,
                link=link.connection if link else None,
                header=header if target.spec.send_proxy_v2 else b"",
                owner=lambda: client,
                kind=TargetConnection,
            )
    except (OSError, asyncssh.Error) as exc:  # a TimeoutError is an OSError
        raise failures.target_failure(exc, link_lost=link is not None and link.lost) from exc


async def open_sftp(
    connection: ClientConnection, session: asyncssh.SSHClientSession[bytes], window: int, timeout: float
) -> None:
    """A channel with the `sftp` subsystem; its events go to `session`."""
    try:
        async with asyncio.timeout(timeout):
            await connection.create_session(lambda: session, subsystem="sftp", encoding=None, window=window)
    except (OSError, asyncssh.Error) as exc:
        if connection.is_closed():
            raise UspError("target.closed") from exc
        if isinstance(exc, asyncssh.ChannelOpenError) and exc.code != asyncssh.OPEN_REQUEST_SESSION_FAILED:
            raise UspError("target.no_channel", failures.said(exc)) from exc
        raise UspError("target.no_sftp", failures.said(exc)) from exc
