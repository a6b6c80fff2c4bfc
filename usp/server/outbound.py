"""The target's leg: `dial`, directly or through a tunnel link (they differ by one argument), and its sftp channels.

Host keys are pinned in the target's options, each credential is tried once (and after a key that was refused, none),
and everything has an end in time. What goes wrong comes out as a UspError `target.*` or `tunnel.*`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from usp.errors import UspError
from usp.server.tunnels import Link
from usp.snapshot import TargetSpec
from usp.ssh import connect, failures
from usp.ssh.connect import ClientConnection, Login
from usp.ssh.login import TargetConnection

Lost = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class Target:
    """An Outbound Node with its options built: algorithms, pinned keys, keepalive."""

    spec: TargetSpec
    options: asyncssh.SSHClientConnectionOptions


class _TargetClient(asyncssh.SSHClient):
    def __init__(self, lost: Lost) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)


async def dial(target: Target, login: Login, link: Link | None, lost: Lost, timeout: float) -> ClientConnection:
    """Logged in at the target within `timeout` seconds, from the first TCP packet to the last word of the login.

    `lost` is called when the connection ends, also when it never came about.
    """
    spec = target.spec
    try:
        async with asyncio.timeout(timeout):
            return await connect.dial(
                spec.host,
                spec.port,
                target.options,
                login,
                connect_timeout=timeout,
                link=link.connection if link else None,
                owner=lambda: _TargetClient(lost),
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
        raise UspError("target.no_sftp", failures.said(exc)) from exc
