"""The control channel of a tunnel link: lines both ways on a session channel (see `usp.hello`)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncssh

from usp.errors import UspError
from usp.hello import SUBSYSTEM, Draining, Hello, HelloRefused, Lines, Welcome, encode
from usp.ssh.connect import ClientConnection

_WAITING: Final = 8
"""Lines that may wait to be read; a peer that sends more of them at once is up to no good."""


class Control:
    """The session on either end."""

    def __init__(self) -> None:
        self._channel: Any = None
        self._framing = Lines()
        self._lines: asyncio.Queue[bytes | UspError] = asyncio.Queue()

    async def receive(self) -> bytes:
        """The next line. Raises UspError when there will be none."""
        item = await self._lines.get()
        if isinstance(item, UspError):
            self._lines.put_nowait(item)  # the end is the end for everybody
            raise item
        return item

    def send(self, message: Hello | Draining | Welcome | HelloRefused) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(encode(message))

    def connection_made(self, channel: Any) -> None:
        self._channel = channel

    def data_received(self, data: bytes, datatype: object = None) -> None:
        try:
            lines = self._framing.feed(data)
            if self._lines.qsize() + len(lines) > _WAITING:
                raise UspError("tunnel.hello_refused", "the other end of the tunnel sent too many lines")
        except UspError as error:
            self._lines.put_nowait(error)
            self._channel.abort()
        else:
            for line in lines:
                self._lines.put_nowait(line)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.put_nowait(UspError("tunnel.down", "the tunnel's control channel was closed"))


class ServerEnd(Control, asyncssh.SSHClientSession[bytes]):
    """usp-server opened the channel."""


class ClientEnd(Control, asyncssh.SSHServerSession[bytes]):
    """usp-client was asked for the channel, and grants that one subsystem only."""

    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == SUBSYSTEM

    def session_started(self) -> None:
        self.started.set()


async def open_control(connection: ClientConnection) -> ServerEnd:
    """Open the control channel from usp-server's end."""
    _, session = await connection.create_session(ServerEnd, subsystem=SUBSYSTEM, encoding=None)
    assert isinstance(session, ServerEnd)
    return session
