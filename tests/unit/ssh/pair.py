"""Two of our connections over a real socket pair, with one open channel, and what its ends collect."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncssh

from usp.algorithms import Algorithms
from usp.secret import Secret
from usp.ssh import connect, keys, options
from usp.ssh.connect import ClientConnection, ServerConnection

PRIVATE, PUBLIC = keys.generate()
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


class End:
    """Collects what comes in; `hold` makes it slow."""

    takes_views = True

    def __init__(self) -> None:
        self.channel: Any = None
        self.got = bytearray()
        self.eof = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.paused = False

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.eof.set()
        return True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


class ServerEnd(End, asyncssh.SSHServerSession[bytes]):
    def subsystem_requested(self, subsystem: str) -> bool:
        return True


class ClientEnd(End, asyncssh.SSHClientSession[bytes]):
    pass


class Server(asyncssh.SSHServer):
    def __init__(self, ends: list[ServerEnd], window: int) -> None:
        self._ends = ends
        self._window = window

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return True

    def session_requested(self) -> Any:
        self._ends.append(ServerEnd())
        channel = self._connection.create_server_channel(encoding=None, window=self._window)
        return channel, self._ends[-1]


@contextlib.asynccontextmanager
async def joined(
    *, cipher: str = CIPHERS[0], window: int = 1 << 21, rekey: int = 1 << 30
) -> AsyncIterator[tuple[ServerConnection, ServerEnd, ClientConnection, ClientEnd]]:
    """One connection of our two classes over a real socket pair, with one open channel."""
    timing = options.Timing()
    algorithms = Algorithms(ciphers=(cipher,))
    serving = options.partner_facing([PRIVATE], algorithms, timing)
    speaking = options.target_facing([PUBLIC], algorithms, timing)
    serving.rekey_bytes = speaking.rekey_bytes = rekey
    ends: list[ServerEnd] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        loop = asyncio.get_running_loop()

        async def accept() -> ServerConnection:
            sock, _ = await loop.sock_accept(listening)
            return await connect.serve(sock, serving, lambda: Server(ends, window))

        port = listening.getsockname()[1]
        login = connect.Login("u", Secret("p"))
        server, client = await asyncio.gather(
            accept(), connect.dial("127.0.0.1", port, speaking, login, connect_timeout=5)
        )
    try:
        end: Any
        _, end = await client.create_session(ClientEnd, subsystem="x", encoding=None, window=window)
        yield server, ends[0], client, end
    finally:
        client.close()
        server.close()
        await client.wait_closed()
        await server.wait_closed()


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in asyncssh)
            await asyncio.sleep(0.002)
