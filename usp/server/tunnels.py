"""Tunnel links of one worker: accepted sockets on which a Proxy Client speaks as SSH server, and we as SSH client.

Both keys are checked in the handshake: the client's (its SSH host key) must be one of the tunnel's Proxy Clients',
ours is the Tunnel's private key. Then the client says its name (`usp.hello`), which must be a name to which the key
that it really used belongs. One client holds at most one link per worker: a second one of the same instance is refused,
one of a newer instance takes the place of the old, which is left over from before the client's restart.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import asyncssh

from usp import hello as protocol
from usp.errors import UspError
from usp.hello import Draining, Hello, HelloRefused, Welcome
from usp.metrics import HANDSHAKE_SECONDS, TUNNEL_ROUND_TRIP
from usp.server.messages import LinkChanged
from usp.snapshot import PROTOCOL, Snapshot, TunnelSpec
from usp.ssh import keys
from usp.ssh.connect import ClientConnection, kernel_round_trip, speak
from usp.ssh.control import ServerEnd, open_control
from usp.ssh.failures import link_failure
from usp.ssh.options import Timing, tunnel_server_end
from usp.status import LinkState, advance
from usp.tasks import TaskSet

MAX_HANDSHAKES: Final = 64
"""Handshakes under way at once in one worker; whoever comes on top is sent away."""
PARTING: Final = 2.0
"""Seconds that a refused client gets to read why."""


@dataclass(eq=False)
class Link:
    """One tunnel connection. `connection` carries forwarded connections once `state` is UP."""

    id: str
    tunnel: str
    peer: str
    spec: TunnelSpec = field(repr=False)
    state: LinkState = LinkState.HANDSHAKING
    client: str = ""
    version: str = ""
    instance: str = ""
    key: str = ""
    control: ServerEnd | None = field(default=None, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, repr=False)
    _connection: ClientConnection | None = field(default=None, repr=False)
    _reason: str = ""

    @property
    def connection(self) -> ClientConnection:
        assert self._connection is not None, "the link is not up"
        return self._connection

    @property
    def usable(self) -> bool:
        """Whether new connections may go through it."""
        return self.state is LinkState.UP and not self.lost

    @property
    def lost(self) -> bool:
        """Whether what went through it is gone."""
        return self.state is LinkState.DOWN or bool(self._reason)

    def end(self, reason: str) -> None:
        """Close it; what goes through it ends. `reason` is what operators read, at both ends."""
        self._reason = self._reason or reason
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)
        elif self._task is not None:
            self._task.cancel()


class Links:
    """The links of this worker. `changed` hears of every change of state; DOWN is the last word about a link."""

    def __init__(
        self, server: str, slot: int, slots: int, timing: Timing, changed: Callable[[LinkChanged], None]
    ) -> None:
        self._server, self._slot, self._slots = server, slot, slots
        self._timing = timing
        self._changed = changed
        self._links: dict[str, Link] = {}
        self._options: dict[str, tuple[TunnelSpec, asyncssh.SSHClientConnectionOptions]] = {}
        self._tasks = TaskSet()

    def adopt(self, sock: socket.socket, spec: TunnelSpec, link_id: str, peer: str) -> None:
        """Take over an accepted connection on the tunnel's port, and make a link of it in the background."""
        link = Link(link_id, spec.id, peer, spec)
        if sum(other.state is LinkState.HANDSHAKING for other in self._links.values()) >= MAX_HANDSHAKES:
            sock.close()
            self._down(link, "too many handshakes at once")
            return
        self._links[link_id] = link
        link._task = self._tasks.spawn(self._live(link, sock), f"link {link_id}")

    def get(self, tunnel_id: str, client: str) -> Link | None:
        """The link through which `client` dials targets, if it is up."""
        for link in self._links.values():
            if link.tunnel == tunnel_id and link.client == client and link.usable:
                return link
        return None

    def all(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def close(self, tunnel_id: str, reason: str = "the tunnel was stopped") -> None:
        for link in self.all():
            if link.tunnel == tunnel_id:
                link.end(reason)

    def retain(self, snapshot: Snapshot) -> None:
        """Close the links that this snapshot no longer allows: their tunnel, key or client is gone or another."""
        for link in self.all():
            spec = snapshot.tunnel(link.tunnel)
            if spec is None or spec.private_key != link.spec.private_key:
                link.end("the tunnel is not configured like that any more")
            elif link.state is LinkState.HANDSHAKING:
                if spec.clients != link.spec.clients:
                    link.end("the tunnel's clients have changed")
            elif link.client not in _names(spec, link.key):
                link.end("the client is not configured like that any more")
        self._options = {id: made for id, made in self._options.items() if snapshot.tunnel(id) == made[0]}

    def give_notice(self) -> None:
        """Have the clients make links elsewhere; these stay for what runs through them."""
        for link in self.all():
            if link.control is not None and link.state is LinkState.UP:
                link.control.send(Draining())
                self._step(link, LinkState.DRAINING)

    def measure(self) -> None:
        """The round trips of links, for the metrics: the kernel knows them."""
        for link in self.all():
            if link.usable and (seconds := kernel_round_trip(link.connection)) is not None:
                TUNNEL_ROUND_TRIP.labels(link.spec.name, str(self._slot)).set(seconds)

    async def aclose(self) -> None:
        """Close all of them and wait until they are gone."""
        for link in self.all():
            link.end("the server is shutting down")
        await self._tasks.cancel()

    async def _live(self, link: Link, sock: socket.socket) -> None:
        reason = "closed"
        try:
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(self._timing.login_timeout):
                control = await self._handshake(link, sock)
            HANDSHAKE_SECONDS.labels("tunnel").observe(asyncio.get_running_loop().time() - began)
            link.control = control
            self._step(link, LinkState.UP)
            while True:
                said = protocol.from_client(await control.receive())
                if isinstance(said, Draining) and link.state is LinkState.UP:
                    self._step(link, LinkState.DRAINING)
        except (UspError, OSError, asyncssh.Error, TimeoutError) as error:
            reason = str(link_failure(error))
        finally:
            if link._connection is not None:
                link._connection.abort()
            self._down(link, link._reason or reason)

    async def _handshake(self, link: Link, sock: socket.socket) -> ServerEnd:
        def owner() -> _Owner:
            return _Owner(link)

        link._connection = await speak(sock, self._options_for(link.spec), owner)
        if link._reason:
            raise UspError("tunnel.down", link._reason)
        key = link._connection.get_server_host_key()
        assert key is not None
        link.key = keys.public_line(key)
        control = await open_control(link._connection)
        said = protocol.from_client(await control.receive())
        if not isinstance(said, Hello):
            raise UspError("tunnel.hello_refused", "the client did not begin with its hello")
        refused = self._judge(link, said)
        if refused is not None:
            link._reason = f"{refused.code}: {refused.message}"
            control.send(refused)
            await self._parting(control)
            raise UspError("tunnel.hello_refused", link._reason)
        link.client, link.version, link.instance = said.name, said.version, said.instance
        control.send(Welcome(server=self._server, slot=self._slot, slots=self._slots))
        return control

    def _judge(self, link: Link, said: Hello) -> HelloRefused | None:
        if protocol.agree(PROTOCOL, said.protocol) is None:
            return HelloRefused(code="protocol", message=f"protocol {said.protocol} is not spoken here, {PROTOCOL} is")
        if said.name not in _names(link.spec, link.key):
            return HelloRefused(code="name", message=f"the key does not belong to a Proxy Client named {said.name}")
        for other in self.all():
            if other.tunnel == link.tunnel and other.client == said.name and not other.lost:
                if other.instance == said.instance:
                    return HelloRefused(code="duplicate", message=f"slot {self._slot} has a live link of this client")
                other.end("superseded by a newer start of the client")
        return None

    @staticmethod
    async def _parting(control: ServerEnd) -> None:
        """Wait until the client has gone: a reset that overtakes the refusal would hide the reason from it."""
        try:
            async with asyncio.timeout(PARTING):
                await control.receive()
        except (TimeoutError, UspError):
            pass

    def _options_for(self, spec: TunnelSpec) -> asyncssh.SSHClientConnectionOptions:
        known = self._options.get(spec.id)
        if known is None or known[0] != spec:
            lines = [client.public_key for client in spec.clients]
            known = (spec, tunnel_server_end(spec.private_key, lines, self._timing))
            self._options[spec.id] = known
        return known[1]

    def _step(self, link: Link, state: LinkState, reason: str = "") -> None:
        link.state = advance(link.state, state)
        self._changed(
            LinkChanged(
                link=link.id,
                tunnel=link.tunnel,
                state=state,
                client=link.client,
                version=link.version,
                reason=reason,
            )
        )

    def _down(self, link: Link, reason: str) -> None:
        self._links.pop(link.id, None)
        self._step(link, LinkState.DOWN, reason)


class _Owner(asyncssh.SSHClient):
    """Remembers why the connection was lost."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connection_lost(self, exc: Exception | None) -> None:
        if self._link._connection is not None:  # before that, `speak` raises what was wrong
            why = "the client closed it" if exc is None else str(link_failure(exc))
            self._link._reason = self._link._reason or why


def _names(spec: TunnelSpec, key: str) -> set[str]:
    """The names of the clients to which that key belongs."""
    return {client.name for client in spec.clients if keys.public_line(keys.parse_public(client.public_key)) == key}
