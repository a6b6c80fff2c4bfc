"""How an SSH leg starts: on a socket that is there already, over TCP, or through a tunnel link.

asyncssh's own `connect` and `run_server` construct their options anew in a thread for every connection; here a copy
of prepared options is used, and the connection classes are ours. They pass a full socket on as congestion, where
asyncssh does nothing.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncssh
from asyncssh.packet import PacketDecodeError

from usp.secret import Secret
from usp.ssh.fastpath import FastPath
from usp.ssh.lean import Lean
from usp.ssh.options import TUNNEL_PACKET, TUNNEL_WINDOW, copied, one_use
from usp.ssh.socketio import Inlet
from usp.ssh.window import Windows


@dataclass(frozen=True, slots=True)
class Login:
    """As whom to log in. Whatever is given is offered."""

    username: str
    password: Secret | None = None
    keys: Sequence[asyncssh.SSHKeyPair] = ()

    @property
    def methods(self) -> list[str]:
        """Those that have something to offer, the strongest first."""
        return ["publickey"] * bool(self.keys) + ["keyboard-interactive", "password"] * bool(self.password)


_TCP_INFO: Final = 104
_RTT: Final = 68  # of tcpi_rtt, microseconds, in struct tcp_info (linux/tcp.h)

BACKLOG: Final = 16 << 20
"""Bytes for a socket that takes none, far above what is sent unasked. Data stops before that; answers do not,
and a peer that does not read them may send any number."""

LOOK_SECONDS = 0.5

MALFORMED: Final = (PacketDecodeError, UnicodeDecodeError)
"""A packet without a type, or text that is none."""


class Congestion:
    """Whether a connection's way out is full, and who wants to know. It is full while anything holds it."""

    def __init__(self) -> None:
        self._holds: set[Hashable] = set()
        self._watchers: set[Callable[[bool], None]] = set()

    def __bool__(self) -> bool:
        return bool(self._holds)

    def watch(self, watcher: Callable[[bool], None]) -> None:
        self._watchers.add(watcher)
        if self._holds:
            watcher(True)

    def unwatch(self, watcher: Callable[[bool], None]) -> None:
        self._watchers.discard(watcher)

    def held_by(self, by: Hashable) -> bool:
        return by in self._holds

    def hold(self, by: Hashable) -> None:
        first = not self._holds
        self._holds.add(by)
        if first:
            self._tell(True)

    def release(self, by: Hashable) -> None:
        if by in self._holds:
            self._holds.remove(by)
            if not self._holds:
                self._tell(False)

    def _tell(self, full: bool) -> None:
        for watcher in tuple(self._watchers):
            watcher(full)


class _Ours(Lean, Windows, FastPath):
    """What is ours about both connection classes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.congestion = Congestion()
        self._exchanged = ""
        self.at_end: list[Callable[[], None]] = []
        self._look: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        self.congestion.hold("transport")
        if self._look is None:
            self._look = self._loop.call_later(LOOK_SECONDS, self._look_at_backlog)

    def _look_at_backlog(self) -> None:
        self._look = None
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if waiting > BACKLOG:
            self._force_close(asyncssh.ConnectionLost("The peer asks and asks, and does not read the answers"))
        elif waiting:
            self._look = self._loop.call_later(LOOK_SECONDS, self._look_at_backlog)

    def resume_writing(self) -> None:
        self.congestion.release("transport")

    def _send_kexinit(self) -> None:
        """Until there are new keys, asyncssh keeps all that is sent, outside of the channels' buffers: what a peer that
        does not go on with the key exchange makes it keep has to be bounded, too."""
        self.congestion.hold("keys")
        super()._send_kexinit()

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        if self._kex is not None:
            self._exchanged = self._kex.algorithm.decode("ascii")
        super().send_newkeys(k, h)
        self.congestion.release("keys")

    def described(self) -> tuple[str, str]:
        """The session's id (RFC 4253 section 7.2), which a peer's log may have, too, and the algorithms in use."""
        sent, received = (
            [self.get_extra_info(f"{way}_cipher"), self.get_extra_info(f"{way}_mac")] for way in ("send", "recv")
        )
        used = [self._exchanged, *sent, *([] if sent == received else received)]
        return self._session_id.hex(), " ".join(name for name in used if name)

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """asyncssh takes what is `MALFORMED` for a bug of its own, and goes without a word."""
        error = (exc_info or sys.exc_info())[1]
        if isinstance(error, MALFORMED):
            error = asyncssh.ProtocolError(str(error))
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        else:
            super().internal_error(exc_info, error_logger)

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        while self.at_end:
            self.at_end.pop()()


class ServerConnection(_Ours, asyncssh.SSHServerConnection):
    """We are the SSH server."""

    async def reload_config(self) -> None:
        """asyncssh would construct the options anew, in a thread and at every login request, because a configuration
        file may say other things for another user; ours come from no file."""


class ClientConnection(_Ours, asyncssh.SSHClientConnection):
    """We are the SSH client."""

    header = b""
    """What goes before our identification: a PROXY header, for a target that expects one."""

    def connection_made(self, transport: Any) -> None:
        if self.header:
            transport.write(self.header)
        super().connection_made(transport)


Connection = TypeVar("Connection", ServerConnection, ClientConnection)
Start = Callable[[Callable[[], Any]], Awaitable[Any]]


async def serve(
    sock: socket.socket,
    options: asyncssh.SSHServerConnectionOptions,
    owner: Callable[[], asyncssh.SSHServer],
    kind: type[ServerConnection] = ServerConnection,
) -> ServerConnection:
    """Be SSH server on a connected socket. Returns when the peer has logged in; raises when it did not."""
    used = one_use(options)
    used.protocol_factory = owner
    return await _run(kind, used, _on(sock))


async def speak(
    sock: socket.socket, options: asyncssh.SSHClientConnectionOptions, owner: Callable[[], asyncssh.SSHClient]
) -> ClientConnection:
    """Be SSH client on a connected socket. Returns when logged in."""
    used = one_use(options)
    used.protocol_factory = owner
    return await _run(ClientConnection, used, _on(sock))


async def dial(
    host: str,
    port: int,
    options: asyncssh.SSHClientConnectionOptions,
    login: Login,
    *,
    connect_timeout: float,
    link: ClientConnection | None = None,
    header: bytes = b"",
    owner: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
    kind: type[ClientConnection] = ClientConnection,
) -> ClientConnection:
    """Connect to an SSH server and log in: directly, or through `link` from the Proxy Client's side. `header` is sent
    first.

    Raises what asyncssh and the system raise; `usp.ssh.failures.target_failure` knows what it means.
    """
    used = one_use(options)
    used.protocol_factory = owner
    used.host, used.port = host, port
    used.username = login.username
    used.password = login.password.reveal() if login.password else None
    used.client_keys = one_use_pairs(login.keys)
    used.preferred_auth = login.methods
    start = _over_tcp(host, port, connect_timeout) if link is None else _through(link, host, port, connect_timeout)
    return await _run(kind, used, _after(header, start))


async def host_key(
    host: str,
    port: int,
    options: asyncssh.SSHClientConnectionOptions,
    *,
    connect_timeout: float,
    link: ClientConnection | None = None,
    header: bytes = b"",
) -> asyncssh.SSHKey:
    """The host key that a target shows and proves to have. It ends with the key exchange: no login is begun."""
    used = one_use(options)
    used.host, used.port = host, port
    start = _over_tcp(host, port, connect_timeout) if link is None else _through(link, host, port, connect_timeout)
    connection = await _run(ClientConnection, used, _after(header, start), wait="kex")
    key = connection.get_server_host_key()
    connection.abort()
    await connection.wait_closed()
    assert key is not None
    return key


async def round_trip(connection: ClientConnection) -> None:
    """Until the other side has answered a request that means nothing. It does not fail: look whether it still lives."""
    await connection._make_global_request(b"keepalive@openssh.com")


def kernel_round_trip(connection: ClientConnection) -> float | None:
    """The smoothed round trip in seconds, as TCP measured it anyway (tcp(7), TCP_INFO); None where there is none."""
    sock = connection.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
    return int.from_bytes(info[_RTT : _RTT + 4], sys.byteorder) / 1e6


def one_use_pairs(pairs: Sequence[asyncssh.SSHKeyPair]) -> list[asyncssh.SSHKeyPair] | None:
    """Copies of key pairs for one connection (see `usp.ssh.options`)."""
    return [copied(pair) for pair in pairs] or None


async def _run(kind: type[Connection], options: Any, start: Start, wait: str = "auth") -> Connection:
    loop = asyncio.get_running_loop()
    options.waiter = waiter = loop.create_future()
    made: list[Connection] = []
    started = False

    def factory() -> Connection:
        made.append(kind(loop, options, wait=wait))
        return made[0]

    try:
        await start(factory)
        started = True
        await waiter
    except BaseException:
        waiter.cancel()
        if made:
            made[0].abort()
            if started:  # uvloop makes the protocol before it connects: without a transport it never closes
                await made[0].wait_closed()
        raise
    return made[0]


def _on(sock: socket.socket) -> Start:
    async def start(factory: Callable[[], Any]) -> None:
        sock.setblocking(False)
        try:
            # Not create_connection: on a socket that is reset at once, uvloop's closes the descriptor but not `sock`,
            # which then closes somebody else's when it is collected.
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Inlet(factory()), sock)
        except BaseException:
            sock.close()
            raise

    return start


def _over_tcp(host: str, port: int, timeout: float) -> Start:
    async def start(factory: Callable[[], Any]) -> None:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().create_connection(lambda: Inlet(factory()), host, port)

    return start


def _through(link: ClientConnection, host: str, port: int, timeout: float) -> Start:
    async def start(factory: Callable[[], Any]) -> None:
        async with asyncio.timeout(timeout):
            _, inner = await link.create_connection(
                factory, host, port, window=TUNNEL_WINDOW, max_pktsize=TUNNEL_PACKET
            )
        _follow(link.congestion, inner)

    return start


def _after(header: bytes, start: Start) -> Start:
    """The header is the connection's own first word."""

    async def begin(factory: Callable[[], Any]) -> None:
        def announcing() -> Any:
            connection = factory()
            connection.header = header
            return connection

        await start(announcing)

    return begin


def described(channel: Any) -> tuple[str, str]:
    """The same (see `_Ours.described`) of the connection that a channel is on."""
    connection = channel.get_connection()
    assert isinstance(connection, _Ours)
    return connection.described()


LINK: Final = "link"
"""What holds a connection whose tunnel link is full."""


def _follow(outer: Congestion, inner: Any) -> None:
    """A full link is congestion of every connection through it, for as long as that lives."""

    def pass_on(full: bool) -> None:
        (inner.congestion.hold if full else inner.congestion.release)(LINK)

    outer.watch(pass_on)
    inner.at_end.append(lambda: outer.unwatch(pass_on))
