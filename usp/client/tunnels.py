"""The tunnel of a USP Client: one link to each worker of its USP Server, kept up for as long as the client runs.

The client makes the TCP connection and then speaks as SSH *server*, because only an SSH server is asked to open
connections (direct-tcpip, RFC 4254, 7.2). It shows its own key as host key and lets in nobody but the pinned key of the
tunnel; the peer may open the one control channel (`usp.hello`) and forwarded connections, nothing else. `Welcome` says
how many workers there are: each of the `Line`s holds one link, and the server takes care that they are spread over the
workers. A line that lost its link, or did not get one, tries again after a jittered back-off.
"""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncssh

from usp import __version__
from usp import hello as protocol
from usp.backoff import delay
from usp.client.allow import AllowList
from usp.client.forward import Forward, open_forward
from usp.errors import UspError
from usp.hello import Draining, Hello, HelloRefused, Welcome
from usp.log import get_logger
from usp.secret import Secret
from usp.snapshot import PROTOCOL
from usp.ssh import keys
from usp.ssh.connect import ServerConnection, serve
from usp.ssh.control import ClientEnd
from usp.ssh.failures import link_failure, open_refusal
from usp.ssh.options import TUNNEL_PACKET, TUNNEL_WINDOW, Timing, tunnel_client_end
from usp.tasks import TaskSet

log = get_logger(__name__)

MAX_FORWARDS: Final = 10_000
"""Forwarded connections at once on one link."""
UNSENT: Final = 256 << 10
"""Bytes that the kernel may hold unsent on a link: what waits there delays signs of life (TCP_NOTSENT_LOWAT)."""


@dataclass(frozen=True, slots=True)
class Where:
    """The USP Server's end, and both identities."""

    host: str
    port: int
    server_key: str
    client_key: Secret = field(repr=False)
    name: str
    instance: str


@dataclass(frozen=True, slots=True)
class Limits:
    timing: Timing
    connect_timeout: float = 10.0
    retry_initial: float = 0.5
    retry_maximum: float = 4.0


class Tunnel:
    """All links of this client. `slots` is what the server last said; `links` are those that are up, by slot."""

    def __init__(self, where: Where, allow: AllowList, limits: Limits) -> None:
        self.where, self.allow, self.limits = where, allow, limits
        self.options = tunnel_client_end(where.client_key, limits.timing)
        self.server_key = keys.parse_public(where.server_key)
        self.slots = 1
        self.links: dict[int, Peer] = {}
        self.draining = False
        self._leaving: set[Peer] = set()
        self._lines = 0
        self._ended = asyncio.Event()
        self._tasks = TaskSet()

    @property
    def forwards(self) -> int:
        return sum(len(peer.forwards) for peer in (*self.links.values(), *self._leaving))

    def start(self) -> None:
        self._fill()

    def welcomed(self, slot: int, slots: int, peer: Peer) -> None:
        self.links[slot] = peer
        self.slots = slots
        self._fill()

    def lost(self, slot: int, peer: Peer) -> None:
        if self.links.get(slot) is peer:
            del self.links[slot]

    def leave(self, slot: int, peer: Peer, connection: ServerConnection) -> None:
        """Nothing new will come through this link; it stays until the server, or what runs through it, ends it."""
        self.lost(slot, peer)
        self._leaving.add(peer)
        self._tasks.spawn(self._left(peer, connection), "leaving link")

    def leaves(self, peer: Peer) -> bool:
        return peer in self._leaving

    async def _left(self, peer: Peer, connection: ServerConnection) -> None:
        try:
            await connection.wait_closed()
        finally:
            self._leaving.discard(peer)
            await peer.aclose()
            connection.close()

    async def line(self) -> None:
        """Hold one link, until there are more lines than the server has slots."""
        try:
            await _keep_up(self)
        finally:
            self._lines -= 1

    def unready(self) -> str:
        """Why the tunnel does not do its work, or ""."""
        if self.draining:
            return "draining"
        return "" if self.links else "no link to the server"

    def surplus(self) -> bool:
        return self.draining or self._lines > self.slots

    async def drain(self, timeout: float) -> None:
        """Take nothing new, let what runs end for at most `timeout` seconds, then close every link."""
        self.draining = True
        for peer in self.links.values():
            peer.say(Draining())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.forwards:
                    self._ended.clear()
                    await self._ended.wait()
        await self.aclose()

    def forward_ended(self) -> None:
        self._ended.set()

    async def aclose(self) -> None:
        self.draining = True
        await self._tasks.cancel()

    def _fill(self) -> None:
        while self._lines < self.slots and not self.draining:
            self._lines += 1
            self._tasks.spawn(self.line(), "tunnel line")


async def _keep_up(tunnel: Tunnel) -> None:
    attempt = 0
    last = ""
    while not tunnel.surplus():
        try:
            ended = await _one_link(tunnel)
            attempt, last = 0, ""
            if ended is None:
                continue
            log.warning("link.down", slot=ended[0], code=ended[1].code, reason=ended[1].message)
        except UspError as error:
            level = log.debug if error.message == last else log.warning  # a server that is away is said once
            level("link.failed", code=error.code, reason=error.message, **error.facts)
            last = error.message
        limits = tunnel.limits
        await asyncio.sleep(delay(attempt, random.random(), limits.retry_initial, limits.retry_maximum))  # noqa: S311
        attempt += 1


async def _one_link(tunnel: Tunnel) -> tuple[int, UspError] | None:
    """Connect, be let in, and stay until the link is lost: its slot, and why; None when the server wants another one
    made in its place. Raises if it never came up."""
    peer = Peer(tunnel)
    connection: ServerConnection | None = None
    welcome: Welcome | None = None
    try:
        async with asyncio.timeout(tunnel.limits.timing.login_timeout):
            sock = await _connect(tunnel)
            connection = await serve(sock, tunnel.options, lambda: peer)
            welcome = await _greet(tunnel, peer)
        tunnel.welcomed(welcome.slot, welcome.slots, peer)
        log.info("link.up", server=welcome.server, slot=welcome.slot, slots=welcome.slots)
        if await _given_notice(peer):
            log.info("link.leaving", slot=welcome.slot, forwards=len(peer.forwards))
            tunnel.leave(welcome.slot, peer, connection)
            connection = welcome = None
            return None
        await connection.wait_closed()
        return welcome.slot, link_failure(peer.lost_by)
    except (UspError, OSError, asyncssh.Error) as error:
        raise _explained(peer, error) from None
    finally:
        if welcome is not None:
            tunnel.lost(welcome.slot, peer)
        if not tunnel.leaves(peer):
            await peer.aclose()
        if connection is not None:
            connection.close()
            await connection.wait_closed()


async def _given_notice(peer: Peer) -> bool:
    """Whether the server wants another link made. False: the link is gone."""
    control = await peer.control()
    try:
        while not isinstance(protocol.from_server(await control.receive()), Draining):
            pass
    except UspError:
        return False
    return True


async def _greet(tunnel: Tunnel, peer: Peer) -> Welcome:
    control = await peer.control()
    control.send(Hello(name=tunnel.where.name, version=__version__, instance=tunnel.where.instance))
    answer = protocol.from_server(await control.receive())
    if isinstance(answer, HelloRefused):
        raise UspError("tunnel.hello_refused", answer.message, refusal=answer.code)
    if not isinstance(answer, Welcome):
        raise UspError("tunnel.hello_refused", "the server did not answer the hello")
    if protocol.agree(PROTOCOL, answer.protocol) is None:
        raise UspError("tunnel.hello_refused", f"the server speaks protocol {answer.protocol}, this client {PROTOCOL}")
    return answer


async def _connect(tunnel: Tunnel) -> socket.socket:
    where = tunnel.where
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    try:
        async with asyncio.timeout(tunnel.limits.connect_timeout):
            found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
            for family, type, proto, _, address in found:
                sock = socket.socket(family, type, proto)
                sock.setblocking(False)
                try:
                    await loop.sock_connect(sock, address)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
                    return sock
                except OSError as error:
                    sock.close()
                    failed = error
                except BaseException:
                    sock.close()
                    raise
    except TimeoutError:
        raise UspError("tunnel.down", f"no answer from {where.host}:{where.port}") from None
    assert failed is not None
    raise failed


def _explained(peer: Peer, error: BaseException) -> UspError:
    if peer.wrong_key is not None:
        return UspError("tunnel.key_mismatch", f"the server's tunnel key is not the pinned one but {peer.wrong_key}")
    return link_failure(error)


class Peer(asyncssh.SSHServer):
    """The USP Server at the other end of one link, and what it may ask for."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._connection: ServerConnection | None = None
        self._control: ClientEnd | None = None
        self._asked = asyncio.Event()
        self._dials = TaskSet()
        self.forwards: set[Forward] = set()
        self.wrong_key: str | None = None
        self.lost_by: Exception | None = None

    async def control(self) -> ClientEnd:
        """The control channel, once the server has opened it."""
        await self._asked.wait()
        if self._control is None:
            raise link_failure(self.lost_by)
        await self._control.started.wait()
        return self._control

    def say(self, message: Draining) -> None:
        if self._control is not None:
            self._control.send(message)

    def _ended(self, forward: Forward) -> None:
        self.forwards.discard(forward)
        self._tunnel.forward_ended()

    async def aclose(self) -> None:
        for forward in tuple(self.forwards):
            forward.abort()
        await self._dials.cancel()

    # called by asyncssh

    def connection_made(self, conn: Any) -> None:
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_by = exc
        self._asked.set()
        for forward in tuple(self.forwards):
            forward.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if keys.same(key, self._tunnel.server_key):
            return True
        self.wrong_key = keys.fingerprint(key)
        return False

    def session_requested(self) -> Any:
        if self._control is not None:
            return False
        self._control = ClientEnd()
        self._asked.set()
        return self._control

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        assert self._connection is not None
        if self._tunnel.draining or len(self.forwards) >= MAX_FORWARDS:
            raise open_refusal(UspError("target.unreachable", "the Proxy Client takes no more connections"))
        channel = self._connection.create_tcp_channel(window=TUNNEL_WINDOW, max_pktsize=TUNNEL_PACKET)
        return channel, self._open(dest_host, dest_port)

    async def _open(self, host: str, port: int) -> Forward:
        made = await self._dials.spawn(self._dial(host, port), f"dial {host}:{port}")
        if isinstance(made, UspError):
            raise open_refusal(made)
        return made

    async def _dial(self, host: str, port: int) -> Forward | UspError:
        assert self._connection is not None
        forward = Forward(self._ended, self._connection.congestion)
        self.forwards.add(forward)
        try:
            await open_forward(forward, host, port, self._tunnel.allow, self._tunnel.limits.connect_timeout)
        except UspError as error:
            self._ended(forward)
            log.info("forward.refused", host=host, port=port, code=error.code, reason=error.message)
            return error
        return forward
