"""Session: one partner connection with its outbound half, from the accepted socket to exactly one Outcome.

    made -> named a user -> logged in -> channels (each an `Exchange`) -> over

Whoever has a reason to end it first gives the Outcome (`end`); a connection that just ends is judged by what it did
before. Partners are told little, the log gets one line with the code, the audit log gets facts. A connection that never
said SSH is a load balancer's banner check: counted as probe, told at debug level only.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncssh

from usp import metrics
from usp.combinations import OutboundCredentials
from usp.errors import UspError
from usp.log import get_logger
from usp.passwords import Passwords
from usp.server import proxy
from usp.server.admission import PARTIAL, Admission
from usp.server.audit import JsonValue
from usp.server.exchange import Exchange
from usp.server.inbound import ChannelGrant, PartnerServer, SftpChannel
from usp.server.messages import Partner
from usp.server.meter import Meter
from usp.server.pool import Destination, Lease, Pool
from usp.server.prepared import Door
from usp.server.scanner import Scanner, Way
from usp.server.screening import Screening
from usp.server.story import Story, names_of
from usp.server.throttle import Throttle, keys
from usp.server.trials import Trial, free
from usp.server.tunnels import Link
from usp.server.waits import Waits
from usp.server.watch import Watch
from usp.sftp.records import Record, printable
from usp.sftp.relay import Relay
from usp.sftp.root import Root, place
from usp.sftp.steps import Close
from usp.ssh import connect, failures
from usp.ssh.login import PartnerConnection
from usp.status import Outcome, SessionStatus

log = get_logger(__name__)

MAX_CHANNELS: Final = 10
"""Channels at once per session, as in OpenSSH's MaxSessions; each has its own channel to the target."""

AWAY: Final = "target not available, try again later"
"""All that a partner is told of what goes wrong behind us."""

AGAIN: Final = 1.0
"""Seconds after which a session that a limit of bandwidth holds is looked at again."""

NO_ROOT: Final = "the policy's root has the user name in it, and this one is none for a directory"

LONGEST_NAME: Final = 255
"""Characters of names in a list of sessions: of a file's path, the last."""

DIRECTIONS: Final = {(True, False): "download", (False, True): "upload", (True, True): "both", (False, False): ""}
"""Of a file that is open to read, and to write."""

UNEXPECTED: Final = "it sent a PROXY header, and the listener's proxy_protocol is off"

_PARTNER_HANDSHAKE: Final = metrics.HANDSHAKE_SECONDS.labels("partner")
_TOO_MANY: Final = (asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many authentication failures")

_GOODBYE: Final[dict[Outcome, tuple[int, str]]] = {
    Outcome.PROTOCOL_ERROR: (asyncssh.DISC_PROTOCOL_ERROR, "SFTP protocol error"),
    Outcome.LIMIT: (asyncssh.DISC_BY_APPLICATION, "limit reached"),
    Outcome.IDLE: (asyncssh.DISC_BY_APPLICATION, "idle for too long"),
    Outcome.DRAINED: (asyncssh.DISC_BY_APPLICATION, "server is shutting down, try again"),
    Outcome.KILLED: (asyncssh.DISC_BY_APPLICATION, "session ended by an administrator"),
    Outcome.INTERNAL: (asyncssh.DISC_BY_APPLICATION, "internal error"),
}
"""What a partner is told, by Outcome (RFC 4253 section 11.1); every other one is `AWAY`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds."""

    login: float
    connect: float
    idle: float
    session: float = 0.0  # 0: any


class Session:
    def __init__(
        self,
        ticket: Partner,
        door: Door,
        limits: Limits,
        link: Callable[[], Link | None],
        tell: Callable[[dict[str, JsonValue]], None],
        passwords: Passwords,
        decided: Callable[[bool, str], None] = lambda admitted, username: None,
        barred: Callable[[str], bool] = lambda username: False,
        pool: Pool | None = None,
        trial: Callable[[str], AbstractAsyncContextManager[Trial]] = lambda username: free(),
        scanner: Scanner | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """`link` finds the link to dial through; `tell` takes the facts for the audit log. `decided` takes whether
        a user name was admitted, or denied by whoever judged it; `barred` says whether logins of a user name are to be
        denied, `trial` whether the target may be asked about one."""
        self.id = ticket.session
        self.version = ticket.version
        self._door = door
        self._source = (ticket.peer_host, ticket.peer_port)
        self._peer = f"{ticket.peer_host}:{ticket.peer_port}"
        self._header = b""
        self._limits = limits
        self._find_link = link
        self._story = Story(tell, door.listener.name, names_of(ticket, door.listener.name))
        self._story.describe(node=door.node.name, rule=door.node.rule.name)
        self._decided = decided
        self._barred = barred
        self._pool = pool or Pool(Watch(lambda path: link(), lambda health: None, limits.connect), limits.connect)
        self._trial = trial
        self._scanner = scanner or Scanner()
        self._admission = Admission(door, passwords, self)
        self._loop = asyncio.get_running_loop()
        self._throttle = throttle or Throttle(self._loop)
        self._partner: PartnerConnection | None = None
        self._lease: Lease | None = None
        self._link: Link | None = None
        self._exchanges: set[Exchange] = set()
        self._past = Counter[str]()  # of exchanges that ended: how many, broken, ended by the target; bytes
        self._outcome: Outcome | None = None
        self._lost: Exception | None = None
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last_call: asyncio.TimerHandle | None = None  # for `Limits.session`
        self._began = self._last_active = self._loop.time()
        self._meter = Meter(door.listener.name, self._began)

    # --- the life of a session ---

    async def run(self, sock: socket.socket) -> Outcome:
        """Serve the partner on this socket until it is over."""
        if self._door.target.spec.send_proxy_v2:
            self._header = proxy.header(self._source, sock.getsockname()[:2])
        with metrics.SESSIONS.labels(self._door.listener.name).track_inprogress():
            return await self._serve(sock)

    async def _serve(self, sock: socket.socket) -> Outcome:
        self._began = self._loop.time()
        self._timer = self._loop.call_later(self._limits.login, self.end, Outcome.LIMIT)
        try:
            await connect.serve(
                sock, self._door.options, lambda: PartnerServer(self, self._admission), PartnerConnection
            )
        except (OSError, asyncssh.Error) as exc:
            if self._partner is None:
                self.partner_lost(exc)
        await self._over.wait()
        return await self._close()

    def end(self, outcome: Outcome, goodbye: tuple[int, str] | None = None) -> None:
        """End it now, for this reason, unless there is one already."""
        if self._outcome is None:
            self._outcome = outcome
            if self._partner:
                away = (asyncssh.DISC_SERVICE_NOT_AVAILABLE, AWAY)
                self._partner.disconnect(*(goodbye or _GOODBYE.get(outcome, away)))

    def fail(self, error: UspError) -> None:
        """End it because of what happened behind us: one line in the log."""
        if self._outcome is None:
            target = self._door.target.spec
            log.warn(
                "session.failed",
                exc_info=error,
                **self._story.names,
                target=target.name,
                address=self._lease.address if self._lease else str(target.addresses[0]),
            )
            self.end(failures.outcome(error))

    async def _close(self) -> Outcome:
        for timer in (self._timer, self._last_call):
            if timer:
                timer.cancel()
        for exchange in tuple(self._exchanges):
            await exchange.cleared()
            exchange.finish()
            self.exchange_ended(exchange)
        if self._lease:
            await self._lease.release()
        outcome = self._outcome = self._outcome or self._judge()
        if self._partner and proxy.begins(self._partner.first_words):
            log.warn("proxy.unexpected", reason=UNEXPECTED, **self._story.names)
        self.measure()
        metrics.SESSIONS_TOTAL.labels(self._door.listener.name, outcome).inc()
        self._story.ended(outcome, self._past["bytes_in"], self._past["bytes_out"])
        return outcome

    def _judge(self) -> Outcome:
        """The partner's connection ended by itself: what was it?"""
        orderly = self._lost is None
        went = orderly or isinstance(self._lost, (OSError, asyncssh.ConnectionLost))
        if not went:
            return Outcome.PROTOCOL_ERROR if isinstance(self._lost, asyncssh.Error) else Outcome.INTERNAL
        if not self._spoke_ssh():
            return Outcome.PROBE
        if not self._admission.complete:
            return self._admission.denied or Outcome.PARTNER_CLOSED
        if self._past["broken"]:
            return Outcome.PARTNER_CLOSED
        if self._past["target_first"]:
            return Outcome.TARGET_CLOSED
        return Outcome.COMPLETED if orderly or self._past["exchanges"] else Outcome.PARTNER_CLOSED

    def _spoke_ssh(self) -> bool:
        """The peer sent an SSH identification (RFC 4253 section 4.2)."""
        return self._partner is not None and self._partner.get_extra_info("client_version") is not None

    def _check_idle(self) -> None:
        quiet = self._loop.time() - max([self._last_active, *(each.last_active for each in self._exchanges)])
        if quiet >= self._limits.idle and not any(exchange.held for exchange in self._exchanges):
            self.end(Outcome.IDLE)
        else:
            self._timer = self._loop.call_later(max(self._limits.idle - quiet, AGAIN), self._check_idle)

    # --- the partner (see `inbound.Partner`) ---

    def partner_made(self, connection: PartnerConnection) -> None:
        self._partner = connection
        if self._outcome is not None:  # ended before it began
            self._loop.call_soon(connection.abort)

    def partner_lost(self, exc: Exception | None) -> None:
        self._lost = exc
        self._over.set()

    def named(self, username: str) -> None:
        first = not self.username
        if first:
            _PARTNER_HANDSHAKE.observe(self._loop.time() - self._began)
        self._admission.named(username)
        self._story.named(username)
        if first:
            self._story.fact("session.started")
            if self._partner and (banner := self._door.node.banner):
                self._partner.send_auth_banner("\r\n".join([*banner.splitlines(), ""]))

    def channel_requested(self) -> ChannelGrant:
        if self._outcome is not None or self._partner is None or self._lease is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, AWAY)
        if len(self._exchanges) >= MAX_CHANNELS:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels")
        waits = Waits(self._loop.time)
        relay = self._screened(self._relay(waits))
        exchange = Exchange(self, relay, self._throttle, self._limited_by(), waits)
        self._exchanges.add(exchange)
        open_target = partial(self._open, exchange, self._lease)
        return SftpChannel(self._partner, open_target, exchange.from_partner_valve.is_shut), exchange.partner_end

    def _relay(self, waits: Waits) -> Relay:
        policy, hashed = self._admission.policy, self._door.node.rule.content_hash
        if policy.root is None:
            return Relay(policy, now=time.time, spent=waits.spent, hashed=hashed)
        path = place(policy.root, self.username)
        if path is None:
            log.warn("session.no_root", reason=NO_ROOT, **self._story.names)
            self.refused("root")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, AWAY)
        self._story.describe(root=printable(path))
        root = Root(path)
        self._story.at_target = root.at_target
        return Relay(policy, root=root, now=time.time, spent=waits.spent, hashed=hashed)

    def _screened(self, relay: Relay) -> Relay | Screening:
        """With what the Rule has scanned."""
        scan = self._door.node.rule.scan
        if scan is None:
            return relay
        way = Way(scan, self._find_link if self._door.listener.path is not None else None)
        return Screening(relay, scan, partial(self._scanner.scan, way, self._source[0]))

    def _limited_by(self) -> list[tuple[str, str]]:
        """The limits of bandwidth that it is under, if they are there."""
        rule, account = self._door.node.rule, f"{self._door.node.rule.repository}/{self.username}"
        return [keys("listener", self._door.listener.id), keys("rule", rule.id), keys("account", account)]

    async def _open(self, exchange: Exchange, lease: Lease) -> bool:
        """The partner asked for `sftp`: it is granted once the target has."""
        try:
            await lease.open_sftp(exchange.target_end)
        except UspError as error:
            if len(self._exchanges) == 1:  # the others may go on
                self.fail(error)
            return False
        if exchange.target_end.channel:
            self._story.target(exchange.target_end.channel)
        exchange.await_greeting(self._limits.connect)
        return exchange.opened()

    def refused(self, kind: str) -> None:
        metrics.REQUESTS_REFUSED_TOTAL.labels(self._door.listener.name, kind).inc()
        self._story.refused(kind)

    # --- the login (see `admission.Host`) ---

    @property
    def username(self) -> str:
        return self._admission.username

    @property
    def barred(self) -> bool:
        return self._barred(self.username)

    def trial(self) -> AbstractAsyncContextManager[Trial]:
        return self._trial(self.username)

    @property
    def ending(self) -> bool:
        return self._outcome is not None or self._over.is_set()

    def admitted(self) -> None:
        self._decided(True, self.username)
        if self._partner:
            self._story.partner(self._partner)
        if self._timer:
            self._timer.cancel()
        self._last_active = self._loop.time()
        self._check_idle()
        if self._limits.session:
            self._last_call = self._loop.call_later(self._limits.session, self.end, Outcome.LIMIT)

    def denied(self) -> None:
        self._decided(False, self.username)

    def exhausted(self, outcome: Outcome) -> None:
        self.end(outcome, _TOO_MANY)

    def tell_login(self, outcome: str, **facts: str) -> None:
        if outcome != PARTIAL:
            metrics.LOGINS_TOTAL.labels(self._door.listener.name, outcome).inc()
        self._story.login(str(outcome), **facts)

    # --- the target ---

    async def dial(self, login: connect.Login) -> None:
        """Log in at the target. UspError target.* or tunnel.* when that fails."""
        self._link = None
        if self._door.listener.path is not None:
            self._link = self._find_link()
            if self._link is None:
                raise UspError("tunnel.down")
        assert self._lease is None, "dialled once it is enough, and then no more"
        target, dedicated = self._door.target, self._door.node.rule.outbound is OutboundCredentials.DEDICATED
        shared = dedicated and target.spec.connection_reuse and not target.spec.send_proxy_v2
        destination = Destination(target, self._door.listener.path, self._link, login, shared, self._header)
        lease = self._lease = await self._pool.acquire(destination, self._target_lost)
        reused: dict[str, JsonValue] = {"reused": lease.reused} if lease.shared else {}
        if self._link is not None:
            self._story.describe(tunnel=self._link.spec.name, proxy_client=self._link.client)
        self._story.describe(target=target.spec.name)
        self._story.served_by(target=target.spec.name, address=lease.address, **reused)

    def _target_lost(self, exc: Exception | None) -> None:
        if self._lease is None or self.ending:
            return
        if self._link is not None and self._link.lost:
            self.fail(UspError("tunnel.down", "the tunnel link was lost"))
        else:
            self.fail(UspError("target.closed", failures.said(exc) if exc else ""))

    # --- the channels (see `exchange.Host`) ---

    def recorded(self, records: Sequence[Record]) -> None:
        self._story.records(records)

    def violated(self, close: Close) -> None:
        metrics.VIOLATIONS_TOTAL.labels(self._door.listener.name, close.side).inc()
        if close.side == "partner":
            names = self._story.names
            log.warn("session.violated", side=close.side, reason=close.reason, code="sftp.protocol", **names)
            self.end(Outcome(close.outcome))
        else:
            target = self._door.target.spec.name
            log.error("target.violated", target=target, reason=close.reason, code="sftp.protocol", **self._story.names)
            self._story.fact("target.violated", target=target, reason=close.reason)
            self.end(Outcome.TARGET_PROTOCOL_ERROR)

    def crashed(self, exc: Exception) -> None:
        log.error("session.crashed", exc_info=exc, **self._story.names)
        self.end(Outcome.INTERNAL)

    def exchange_ended(self, exchange: Exchange) -> None:
        if exchange in self._exchanges:
            self._exchanges.discard(exchange)
            self._last_active = max(self._last_active, exchange.last_active)
            self._past.update(
                exchanges=1,
                broken=exchange.broken,
                target_first=exchange.target_first,
                bytes_in=exchange.bytes_in,
                bytes_out=exchange.bytes_out,
            )

    # --- what others are told ---

    @property
    def bytes_in(self) -> int:
        return self._past["bytes_in"] + sum(each.bytes_in for each in self._exchanges)

    @property
    def bytes_out(self) -> int:
        return self._past["bytes_out"] + sum(each.bytes_out for each in self._exchanges)

    def measure(self) -> None:
        """Every few seconds."""
        self._meter.read(self.bytes_in, self.bytes_out, self._loop.time())

    def status(self, slot: int) -> SessionStatus:
        file = next((file for exchange in self._exchanges if (file := exchange.file)), None)
        return SessionStatus(
            id=self.id,
            listener=self._door.listener.name,
            node=self._door.node.name,
            peer=self._peer,
            username=self.username[:LONGEST_NAME],
            slot=slot,
            since=self._story.since,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            rate_in=self._meter.rate_in,
            rate_out=self._meter.rate_out,
            target=self._door.target.spec.name,
            file=printable(file.path)[-LONGEST_NAME:] if file else "",
            direction=DIRECTIONS[file.reads, file.writes] if file else "",
        )
