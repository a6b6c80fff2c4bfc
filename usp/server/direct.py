"""Direct Mode: a partner's connection handed on to the target as it is, without a session break.

The supervisor has asked the listener's IP Filter already. Here the target is dialled, directly or through a tunnel
link, and the two are joined: by `splice` where both ends are plain sockets, by `forward` where one is a link's channel.
What ends otherwise than by both sides' own will is reset, so that nobody takes it for the end of the data.

A partner who says nothing, hears no more than a greeting and goes is a load balancer's check: counted as probe.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

import asyncssh

from usp import metrics
from usp.errors import UspError
from usp.log import get_logger
from usp.server import proxy
from usp.server.audit import JsonValue
from usp.server.forward import Forward
from usp.server.messages import Partner
from usp.server.meter import Meter
from usp.server.session import AGAIN, Limits
from usp.server.splice import Side, Splice, close
from usp.server.story import Story, names_of
from usp.server.throttle import Throttle, keys
from usp.server.tunnels import Link
from usp.snapshot import DirectSpec, ListenerSpec
from usp.ssh import failures
from usp.ssh.options import TUNNEL_PACKET, TUNNEL_WINDOW
from usp.status import Outcome, SessionStatus
from usp.tasks import TaskSet, spawn

log = get_logger(__name__)

GREETING: Final = 1024
"""Bytes that a target may send to a probe: an SSH identification has at most 255 (RFC 4253, 4.2)."""


class Direct:
    """A session in Direct Mode: to a worker what `usp.server.session.Session` is."""

    def __init__(
        self,
        ticket: Partner,
        listener: ListenerSpec,
        limits: Limits,
        link: Callable[[], Link | None],
        tell: Callable[[dict[str, JsonValue]], None],
        throttle: Throttle | None = None,
    ) -> None:
        """`link` finds the link to dial through; `tell` takes the facts for the audit log."""
        assert listener.direct is not None
        self.id = ticket.session
        self.version = ticket.version
        self._listener = listener
        self._to: DirectSpec = listener.direct
        self._source = (ticket.peer_host, ticket.peer_port)
        self._peer = f"{ticket.peer_host}:{ticket.peer_port}"
        self._limits = limits
        self._find_link = link
        self._link: Link | None = None
        self._story = Story(
            tell, listener.name, names_of(ticket, listener.name, target=f"{self._to.host}:{self._to.port}")
        )
        self._loop = asyncio.get_running_loop()
        self._limited = throttle, keys("listener", listener.id)
        self._join: Splice | Forward | None = None
        self._meter = Meter(listener.name, self._loop.time())
        self._outcome: Outcome | None = None
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last_call: asyncio.TimerHandle | None = None

    # --- the life of a session ---

    async def run(self, sock: socket.socket) -> Outcome:
        """Serve the partner on this socket until it is over."""
        sock.setblocking(False)
        tasks = TaskSet()
        with metrics.SESSIONS.labels(self._listener.name).track_inprogress():
            tasks.spawn(self._connect(sock), f"direct {self.id}")
            await self._over.wait()
            await tasks.cancel()
            return self._close(sock)

    def end(self, outcome: Outcome) -> None:
        """End it now, for this reason, unless there is one already."""
        if self._outcome is None:
            self._outcome = outcome
            self._over.set()

    def _fail(self, error: UspError) -> None:
        if self._outcome is None:
            log.warn("session.failed", exc_info=error, **self._story.names)
            self.end(failures.outcome(error))

    def _close(self, sock: socket.socket) -> Outcome:
        for timer in (self._timer, self._last_call):
            if timer:
                timer.cancel()
        outcome = self._outcome
        assert outcome is not None
        orderly = outcome is Outcome.COMPLETED
        if self._join is None:
            close(sock, reset=True)
        else:
            self._join.close(reset=not orderly)
        self.measure()
        metrics.SESSIONS_TOTAL.labels(self._listener.name, outcome).inc()
        self._story.ended(outcome, self.bytes_in, self.bytes_out)
        return outcome

    def _check_idle(self) -> None:
        assert self._join is not None
        quiet = self._loop.time() - self._join.last_active
        if quiet >= self._limits.idle and not self._join.held:
            self.end(Outcome.IDLE)
        else:
            self._timer = self._loop.call_later(max(self._limits.idle - quiet, AGAIN), self._check_idle)

    # --- the target ---

    async def _connect(self, sock: socket.socket) -> None:
        try:
            self._join = await (self._directly(sock) if self._listener.path is None else self._through_link(sock))
        except UspError as error:
            self._fail(error)
        except Exception:
            self.end(Outcome.INTERNAL)
            raise
        else:
            self._check_idle()
            if self._limits.session:
                self._last_call = self._loop.call_later(self._limits.session, self.end, Outcome.LIMIT)
            self._join.start()

    async def _directly(self, sock: socket.socket) -> Splice:
        try:
            target = await connected(self._to.host, self._to.port, self._limits.connect, self._header(sock))
        except OSError as exc:  # a TimeoutError is one
            raise failures.target_failure(exc) from exc
        return Splice(sock, target, self._joint_over, self._heard, *self._limited)

    async def _through_link(self, sock: socket.socket) -> Forward:
        link = self._link = self._find_link()
        if link is None:
            raise UspError("tunnel.down")
        congestion, header = link.connection.congestion, self._header(sock)
        forward = self._join = Forward(sock, congestion, self._joint_over, self._heard, header, *self._limited)
        opening = spawn(self._open(link, forward), f"direct {self.id}, opening")
        try:
            async with asyncio.timeout(self._limits.connect):
                failed = await asyncio.shield(opening)  # not cancelled: what it still gets must be given back
        except TimeoutError as exc:
            failed = exc
        if failed:
            raise failures.target_failure(failed, link_lost=link.lost) from failed
        return forward

    async def _open(self, link: Link, forward: Forward) -> Exception | None:
        to = self._to
        try:
            await link.connection.create_connection(
                lambda: forward, to.host, to.port, window=TUNNEL_WINDOW, max_pktsize=TUNNEL_PACKET
            )
        except (OSError, asyncssh.Error) as exc:
            return exc
        return None

    def _header(self, sock: socket.socket) -> bytes:
        """What the target is told of the partner before anything else."""
        return proxy.header(self._source, sock.getsockname()[:2]) if self._to.send_proxy_v2 else b""

    def _joint_over(self, broke: Side | None, error: OSError | None) -> None:
        if self._is_probe(broke):
            self.end(Outcome.PROBE)
        elif broke is None and error is not None:
            self._fail(UspError("internal", failures.said(error)))
        elif broke is None:
            self.end(Outcome.COMPLETED)
        elif broke is Side.PARTNER:
            self.end(Outcome.PARTNER_CLOSED)
        elif self._link is not None and self._link.lost:
            self._fail(UspError("tunnel.down", "the tunnel link was lost"))
        else:
            self._fail(UspError("target.closed", failures.said(error) if error else "it reset the connection"))

    def _is_probe(self, broke: Side | None) -> bool:
        assert self._join is not None
        partner_first = (broke or self._join.first) is Side.PARTNER
        return partner_first and not self._join.bytes_in and self._join.bytes_out <= GREETING

    # --- what others are told ---

    @property
    def bytes_in(self) -> int:
        return self._join.bytes_in if self._join else 0

    @property
    def bytes_out(self) -> int:
        return self._join.bytes_out if self._join else 0

    def measure(self) -> None:
        """Every few seconds."""
        self._meter.read(self.bytes_in, self.bytes_out, self._loop.time())

    def status(self, slot: int) -> SessionStatus:
        return SessionStatus(
            id=self.id,
            listener=self._listener.name,
            node="",
            peer=self._peer,
            slot=slot,
            since=self._story.since,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            rate_in=self._meter.rate_in,
            rate_out=self._meter.rate_out,
            target=f"{self._to.host}:{self._to.port}",
        )

    def _heard(self) -> None:
        self._story.fact("session.started")


async def connected(host: str, port: int, timeout: float, header: bytes = b"") -> socket.socket:
    """A non-blocking socket connected to the first address that answers, with `header` sent; OSError when none does
    within `timeout`."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failed: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(timeout / len(found)):
                    await loop.sock_connect(sock, address)
                    await loop.sock_sendall(sock, header)
            except OSError as error:
                sock.close()
                failed = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failed
