"""The reception: judges each accepted connection, books it in the ledger, and gives it to a worker or refuses it.

It is the supervisor's, so limits hold across all workers; it reads no SSH byte. What workers tell of logins comes here,
too (`heard`), and so do the ledger's penalties when somebody looks at them or releases one.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson

from usp import ipfilter, metrics, tasks
from usp.errors import UspError
from usp.log import get_logger
from usp.model import ProxyProtocol
from usp.plan import Endpoint, Spec
from usp.server import announced, dispatch
from usp.server.dispatch import Refusal
from usp.server.guard import Answer, Guard
from usp.server.ledger import Entry, Kind, Ledger, source_of
from usp.server.messages import (
    Authenticated,
    Bar,
    FromWorker,
    Kill,
    LoginFailed,
    MayTry,
    Partner,
    Ready,
    SessionEnded,
    Tried,
    TunnelSocket,
    Verdict,
)
from usp.server.proxy import Bad
from usp.server.refusals import Refusals
from usp.server.slots import HeldSession, Slot, Worker
from usp.settings import ServerSettings
from usp.snapshot import ListenerSpec, NodeSpec, Snapshot, TunnelSpec
from usp.status import Outcome, PenaltyStatus

log = get_logger(__name__)

MAX_WAITING: Final = 1024
"""Connections of load balancers at once whose PROXY header is awaited."""


class Reception:
    """`slots` are filled in by the supervisor. `audit` takes a finished line; `now` is the ledger's clock."""

    def __init__(
        self, settings: ServerSettings, audit: Callable[[str], object], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.slots: Final[list[Slot]] = []
        self.closed = False  # to new sessions: the server is drained
        self._max_sessions = settings.server.max_sessions
        self._ledger = Ledger(settings.limits)
        self._guard = Guard(settings.limits)
        self._refusals = Refusals()
        self._audit = audit
        self._now = now
        self._turn = itertools.count()
        self._version = 0
        self._owners: dict[Endpoint, Spec] = {}
        self._gates: dict[str, dispatch.Gate] = {}
        self._balancers: dict[str, Callable[[str], bool]] = {}
        self._waiting = tasks.TaskSet()  # for PROXY headers
        metrics.PENALTIES.set_function(lambda: sum(1 for _ in self._ledger.penalties(self._now())))

    def serve(self, snapshot: Snapshot, owners: dict[Endpoint, Spec]) -> None:
        """From now on connections are placed by this snapshot; `owners` says who is to listen where."""
        self._version = snapshot.version
        self._owners = owners
        self._gates = {spec.id: dispatch.gate(spec) for spec in snapshot.content.listeners}
        self._balancers = {spec.id: ipfilter.among(spec.proxy_trusted) for spec in snapshot.content.listeners}

    @property
    def waiting(self) -> int:
        """Connections whose PROXY header is awaited."""
        return len(self._waiting)

    def inherited(self, session: HeldSession) -> None:
        """A session of before an upgrade counts for the limits; its login is over, or its worker's business."""
        ticket = session.ticket
        self._ledger.opened(ticket.session, ticket.peer_host, ticket.listener, logs_in=False, exempt=ticket.exempt)

    async def close(self) -> None:
        await self._waiting.cancel()
        self._refusals.close()

    # --- connections ---

    def accepted(self, endpoint: Endpoint, connection: socket.socket, host: str, port: int) -> None:
        """Hand the connection to a slot, or leave it to be closed."""
        spec = self._owners[endpoint]
        if isinstance(spec, TunnelSpec):
            self._answer(self._place_tunnel(spec, connection, host, port), spec, host)
        elif spec.proxy_protocol is ProxyProtocol.OFF:
            self._answer(self._place_partner(spec, connection, host, port), spec, host)
        elif not self._balancers[spec.id](host):
            self._answer(Refusal.PROXY_UNTRUSTED, spec, host, "it is not one of the listener's proxy_trusted")
        elif len(self._waiting) >= MAX_WAITING:
            self._answer(Refusal.BUSY, spec, host, "too many connections have not sent their PROXY header yet")
        else:
            copy = connection.dup()
            task = self._waiting.spawn(self._announced(endpoint, copy, host, port), f"PROXY header from {host}")
            task.add_done_callback(lambda _: copy.close())

    async def _announced(self, endpoint: Endpoint, connection: socket.socket, host: str, port: int) -> None:
        """A balancer's connection: whom it speaks for is the partner. Its health checks are its own, and free."""
        found = await announced.header(connection)
        spec = self._owners.get(endpoint)
        if not isinstance(spec, ListenerSpec):  # closed meanwhile
            return
        if isinstance(found, Bad):
            self._answer(Refusal.PROXY_HEADER, spec, host, found.reason)
            return
        partner, partner_port = found.source or (host, port)
        refusal = self._place_partner(spec, connection, partner, partner_port, check=found.source is None)
        self._answer(refusal, spec, partner)

    def _answer(self, refusal: Refusal | None, spec: Spec, host: str, why: str = "") -> None:
        if refusal is not None:
            self._refusals.tell(refusal, spec.name, host, why)

    def _place_partner(
        self, spec: ListenerSpec, connection: socket.socket, host: str, port: int, *, check: bool = False
    ) -> Refusal | None:
        """`check`: a balancer's health check, which no limit of sources is for."""
        entry = self._gates[spec.id](host)
        if entry is None:
            return Refusal.FILTER
        if self.closed:
            return Refusal.DRAINED
        refusal = None if check else self._ledger.refusal(host, spec.id, self._now())
        if refusal is not None:
            return refusal
        views = [slot.view() for slot in self.slots]
        if sum(view.sessions for view in views) >= self._max_sessions:
            return Refusal.LIMIT
        candidates = dispatch.place(views, spec, next(self._turn))
        if not candidates:
            return dispatch.why_nowhere(views, spec.path)
        node = entry if isinstance(entry, NodeSpec) else None
        ticket = Partner(
            session=secrets.token_hex(8),
            version=self._version,
            listener=spec.id,
            node=node.id if node else "",
            peer_host=host,
            peer_port=port,
            exempt=check or self._ledger.is_exempt(host),
            known=self._ledger.knows(host),
        )
        session = HeldSession(ticket, spec.name, node.name if node else "")
        if not any(worker.give_partner(session, connection) for worker in self._ready(candidates)):
            return Refusal.BUSY
        self._ledger.opened(ticket.session, host, spec.id, logs_in=node is not None, exempt=check)
        return None

    def _place_tunnel(self, spec: TunnelSpec, connection: socket.socket, host: str, port: int) -> Refusal | None:
        views = [slot.view() for slot in self.slots]
        candidates = dispatch.place_tunnel(views, spec.id, host, next(self._turn))
        if not candidates:
            return Refusal.NO_WORKER
        message = TunnelSocket(link=secrets.token_hex(8), tunnel=spec.id, peer_host=host, peer_port=port)
        given = any(worker.give_tunnel(message, connection) for worker in self._ready(candidates))
        return None if given else Refusal.BUSY

    def _ready(self, numbers: Sequence[int]) -> Iterator[Worker]:
        return (worker for number in numbers if (worker := self.slots[number].ready) is not None)

    # --- the ledger ---

    def heard(self, worker: Worker, message: FromWorker) -> None:
        """Book what a worker tells of logins."""
        now = self._now()
        match message:
            case LoginFailed(session=session, username=username):
                self._impose(self._ledger.failed(session, username, now))
            case MayTry(session=session, attempt=attempt, target=target, username=username):
                if held := worker.sessions.get(session):
                    source = source_of(held.ticket.peer_host)
                    answer = self._guard.ask((session, attempt), target, source, username, now)
                    self._answer_trial(worker, attempt, target, answer)
            case Tried(session=session, attempt=attempt, result=result):
                self._guarded(self._guard.tried((session, attempt), result, now))
            case SessionEnded(session=session, outcome=outcome):
                self._guarded(self._guard.ended(session, now))
                self._impose(self._ledger.ended(session, outcome, now))
            case Authenticated(session=session, username=username):
                if not self._ledger.authenticated(session, username, now):
                    log.warn("account.full", username=username, session=session)
                    worker.channel.post(Kill(session=session, outcome=Outcome.LIMIT))
            case Ready():  # a new life: it knows of no penalty yet
                for entry in self._ledger.penalties(now):
                    if entry.kind is Kind.USERNAME:
                        worker.channel.post(Bar(username=entry.name, seconds=entry.until - now))

    def penalties(self) -> list[PenaltyStatus]:
        """Who has a penalty, and which targets are shown no more failed logins; why, and until when."""
        now = self._now()
        return [self._status(entry) for entry in (*self._ledger.penalties(now), *self._guard.used_up(now))]

    def release(self, key: str) -> None:
        """Forget what is held against it. UspError penalty.unknown."""
        entry = self._guard.release(key, self._now()) or self._ledger.release(key)
        if entry is None:
            raise UspError("penalty.unknown", f"nothing is held against '{key}'")
        if entry.kind is Kind.USERNAME:
            self._bar(entry.name, 0.0)
        self._tell("penalty.released", entry)

    def _impose(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            seconds = entry.until - self._now()
            if entry.kind is Kind.USERNAME:
                self._bar(entry.name, seconds)
            self._tell("penalty", entry, seconds=round(seconds, 1))

    def _guarded(self, used_up: Entry | None) -> None:
        """An attempt at a target is over: those that waited for its place are answered."""
        if used_up is not None:
            self._tell("target.guarded", used_up, seconds=round(used_up.until - used_up.at, 1))
        for (session, attempt), target, answer in self._guard.decided(self._now()):
            for slot in self.slots:
                if slot.worker is not None and session in slot.worker.sessions:
                    self._answer_trial(slot.worker, attempt, target, answer)

    def _answer_trial(self, worker: Worker, attempt: int, target: str, answer: Answer) -> None:
        if answer is Answer.GRANTED:
            worker.channel.post(Verdict(attempt=attempt, granted=True))
        elif answer is Answer.DENIED:
            metrics.TARGET_GUARD_DENIED_TOTAL.labels(target).inc()
            worker.channel.post(Verdict(attempt=attempt, granted=False, seconds=self._guard.delay(target)))

    def _bar(self, username: str, seconds: float) -> None:
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.channel.post(Bar(username=username, seconds=seconds))

    def _tell(self, event: str, entry: Entry, **more: float) -> None:
        facts = {str(entry.kind): entry.name, "failures": entry.count, "reason": entry.reason, **more}
        log.warn(event, **facts)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        self._audit(orjson.dumps({"time": now, "event": event, **facts}).decode())

    def _status(self, entry: Entry) -> PenaltyStatus:
        seconds = entry.until - self._now()
        return PenaltyStatus(
            key=entry.key,
            kind=entry.kind,
            name=entry.name,
            reason=entry.reason,
            failures=entry.count,
            seconds=round(seconds, 1),
            until=round(time.time() + seconds, 1),
        )
