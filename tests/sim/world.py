"""What surrounds the managers in the simulation: a database, servers, and the network between.

Only what is outside of the decisions is simulated. What decides is the real code: the pusher and its reconciler, the
compiler, and of the server its verdict, its plan of sockets and its dispatch. Everything that can go wrong does, by the
one source of randomness of the history.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from usp import plan as planning
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog
from usp.manager.control import Endpoint
from usp.manager.store.leases import Lease, Standing
from usp.manager.store.rows import Event, Pushable, RunState, Server, Version
from usp.model import ListenerType
from usp.plan import Spec
from usp.server import dispatch, verdict
from usp.server.dispatch import SlotView
from usp.snapshot import Content, ListenerSpec, Snapshot
from usp.status import (
    Ack,
    Complaint,
    Intake,
    ListenerState,
    ListenerStatus,
    PushState,
    Report,
    ServerState,
    SlotStatus,
    TunnelStatus,
)

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT: Final = 5.0
WORKERS: Final = 2
T = TypeVar("T")


@dataclass
class Chaos:
    """The dice. `on` False: from now on nothing goes wrong any more."""

    random: random.Random
    on: bool = True
    told: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # what must hold, and did not

    def __post_init__(self) -> None:
        """Each history has troubles of its own: what is rare in one is all that happens in another."""
        choose = self.random.choice
        self.lost = choose((0.0, 0.02, 0.1, 0.25))  # messages, each way
        self.doubled = choose((0.0, 0.05, 0.3))  # messages
        self.failing = choose((0.0, 0.01, 0.05))  # calls of the database
        self.server_life = choose((5.0, 20.0, 100.0))  # seconds, at most
        self.manager_life = choose((5.0, 15.0, 100.0))
        self.database_life = choose((10.0, 40.0, 200.0))
        self.between_orders = choose((1.0, 4.0, 10.0))

    def happens(self, chance: float) -> bool:
        return self.on and self.random.random() < chance

    def seconds(self, most: float) -> float:
        return self.random.random() ** 3 * most

    def must(self, holds: bool, otherwise: str) -> None:
        """Checked at that moment, and told at the end: whoever acts then is not the one to blame."""
        if not holds:
            self.tell(f"BROKEN: {otherwise}")
            self.broken.append(otherwise)

    def tell(self, what: str) -> None:
        self.told.append(f"{asyncio.get_running_loop().time():8.3f} {what}")


# --- the database ---


@dataclass
class Tables:
    """What the database holds."""

    catalog: Catalog
    versions: dict[str, list[tuple[Version, Content]]] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    run_states: dict[str, RunState] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)  # when each server was seen, by the database's clock
    leases: dict[str, tuple[Lease, float]] = field(default_factory=dict)  # and until when
    down: bool = False


class Store:
    """One manager's connection to the database: usp.manager.store.Store, as far as the pusher uses it. A call may be
    slow, fail before it did anything, or fail after all is done."""

    def __init__(self, tables: Tables, chaos: Chaos, pause: Callable[[], Awaitable[object]]) -> None:
        self._tables = tables
        self._chaos = chaos
        self._pause = pause
        self.dead = False  # its manager is; nothing comes from there any more
        self.items = self.servers = self.versions = self.events = self.leases = self

    async def _done(self, what: Callable[[], T]) -> T:
        await asyncio.sleep(self._chaos.seconds(0.05))
        if self.dead or self._tables.down or self._chaos.happens(self._chaos.failing):
            raise UspError("database.unavailable")
        found = what()
        await self._pause()
        if self._chaos.happens(self._chaos.failing):
            raise UspError("database.unavailable", "the connection was lost after the commit")
        return found

    async def read(self) -> Catalog:
        return await self._done(lambda: self._tables.catalog)

    async def run_states(self) -> Mapping[str, RunState]:
        return await self._done(lambda: dict(self._tables.run_states))

    async def observed(
        self, name: str, state: ServerState, reason: str, *, at: datetime, report: Report | None = None, by: str = ""
    ) -> None:
        def note() -> None:
            before = self._tables.servers.get(name) or Server(name)
            after = replace(before, state=state, reason=reason, checked_at=at)
            if report is not None:
                after = replace(after, report=report, seen_at=at)
                self._tables.seen[name] = _now()
            self._tables.servers[name] = after

        await self._done(note)

    async def ages(self) -> Mapping[str, float]:
        return await self._done(lambda: {name: _now() - seen for name, seen in self._tables.seen.items()})

    async def standing(self, prefix: str) -> Sequence[Standing]:
        def found() -> Sequence[Standing]:
            return [
                Standing(name, lease.holder, until - _now()) for name, (lease, until) in self._tables.leases.items()
            ]

        return await self._done(found)

    async def take_each(self, names: Iterable[str], holder: str, lasting: timedelta) -> Sequence[Lease]:
        def taken() -> Sequence[Lease]:
            done = []
            for name in names:
                lease, until = self._tables.leases.get(name, (Lease(name, "", 0), 0.0))
                free = until < _now()
                if lease.holder == holder or free:
                    lease = Lease(name, holder, lease.fence + free)
                    self._tables.leases[name] = lease, _now() + lasting.total_seconds()
                    done.append(lease)
            return done

        return await self._done(taken)

    async def release(self, *held: Lease) -> None:
        def freed() -> None:
            for lease in held:
                if self._tables.leases[lease.name][0].fence == lease.fence:
                    self._tables.leases[lease.name] = lease, _now() - 1e-6

        await self._done(freed)

    async def add(self, *events: Event) -> None:
        await self._done(lambda: self._tables.events.extend(events))

    async def latest(self, server: str, *push: PushState) -> Version | None:
        def newest() -> Version | None:
            rows = [row for row, _ in self._tables.versions.get(server, []) if row.push in (push or PushState)]
            return max(rows, key=lambda row: row.number, default=None)

        return await self._done(newest)

    async def find(self, server: str, number: int) -> Version | None:
        return await self._done(
            lambda: next((row for row, _ in self._tables.versions.get(server, []) if row.number == number), None)
        )

    async def open(self, server: str, number: int) -> Pushable:
        def opened() -> Pushable:
            row, content = next(row for row in self._tables.versions[server] if row[0].number == number)
            return Pushable(row, Snapshot.of(server, number, content))

        return await self._done(opened)

    async def pushed(
        self,
        server: str,
        number: int,
        push: PushState,
        *,
        at: datetime,
        reason: str = "",
        problems: Sequence[Problem] = (),
    ) -> bool:
        def note() -> bool:
            rows = self._tables.versions[server]
            (place,) = [place for place, (row, _) in enumerate(rows) if row.number == number]
            row, content = rows[place]
            if row.push is PushState.APPLIED:
                return False
            rows[place] = replace(row, push=push, pushed_at=at, reason=reason, problems=tuple(problems)), content
            return True

        return await self._done(note)


def _now() -> float:
    return asyncio.get_running_loop().time()


def add_version(tables: Tables, server: str, content: Content) -> int:
    """What an administrator's push does, as one transaction (usp.manager.store.versions.Versions.add)."""
    rows = tables.versions.setdefault(server, [])
    report = tables.servers[server].report if server in tables.servers else None
    number = max([row.number for row, _ in rows] + [report.version if report else 0], default=0) + 1
    row = Version(server, number, content.digest, tables.catalog.revision, "ann", START, "", PushState.PENDING)
    rows.append((row, content))
    return number


def accepted(tables: Tables, server: str) -> int:
    """The newest version that is noted as accepted."""
    rows = tables.versions.get(server, [])
    return max((row.number for row, _ in rows if row.push is PushState.APPLIED), default=0)


# --- a server ---


@dataclass
class Worker:
    """A worker process: its messages arrive in order, and late."""

    chaos: Chaos
    version: int = 0
    inbox: list[tuple[str, int]] = field(default_factory=list)

    def deliver(self) -> None:
        for word, number in self.inbox:
            if word == "commit":
                self.version = number
            else:
                mixture = f"a partner of version {number} met a worker at {self.version}: a mixture"
                self.chaos.must(self.version == number, mixture)
        self.inbox.clear()


class ProxyServer:
    """A usp-server over many lives. `accepted`: the newest version that the database notes as accepted by it."""

    def __init__(self, name: str, chaos: Chaos, accepted: Callable[[str], int]) -> None:
        self.name = name
        self._accepted = accepted
        self.refused: set[int] = set()
        self.up = False
        self._chaos = chaos
        self._lives = 0
        self.start()

    def start(self) -> None:
        self._lives += 1
        self.boot = f"{self.name}/{self._lives}"
        self.up = True
        self.draining = False
        self.snapshot: Snapshot | None = None
        self.orders: dict[str, bool] = {}
        self.intake = Intake.OPEN
        self.listening: frozenset[planning.Endpoint] = frozenset()
        self.workers = [Worker(self._chaos) for _ in range(WORKERS)]
        self._lock = asyncio.Lock()

    def stop(self) -> None:
        self.up = False

    # The control API

    def status(self) -> Report:
        content = self.snapshot.content if self.snapshot else None
        return Report(
            server=self.name,
            software="1",
            boot=self.boot,
            started_at=0.0,
            version=self.snapshot.version if self.snapshot else 0,
            digest=self.snapshot.digest if self.snapshot else "",
            draining=self.draining,
            intake=self.intake,
            slots=tuple(SlotStatus(slot=n, pid=n, ready=True, sessions=0, restarts=0) for n in range(WORKERS)),
            listeners=tuple(
                ListenerStatus(
                    id=spec.id, name=spec.name, type=ListenerType.SFTP, address=spec.address, port=spec.port,
                    state=self._state(spec),
                )
                for spec in (content.listeners if content else ())
            ),
            tunnels=tuple(
                TunnelStatus(id=spec.id, name=spec.name, address=spec.address, port=spec.port, state=self._state(spec))
                for spec in (content.tunnels if content else ())
            ),
        )  # fmt: skip

    async def put(self, snapshot: Snapshot, boot: str) -> Ack:
        self._answers()
        if boot != self.boot:
            raise UspError("server.restarted")
        life = self.boot
        async with self._lock:
            self._alive(life)
            if self.draining:
                raise UspError("server.draining")
            answer = verdict.judge(self.name, self.snapshot, snapshot)
            if answer is not None:
                return answer
            plan = planning.plan(self.listening, snapshot, self._ordered(snapshot))
            assert not list(planning.problems(snapshot))
            await asyncio.sleep(self._chaos.seconds(1.0))  # the workers read it
            self._alive(life)
            died = self._chaos.happens(0.02)
            if died or any(spec.name == "poison" for spec in snapshot.content.listeners):
                self.refused.add(snapshot.version)
                reason = "a worker ended while it prepared the snapshot" if died else "is poison"
                return verdict.rejected(self.snapshot, "push.rejected", [Complaint(loc=("listeners", 0), msg=reason)])
            self._commit(snapshot, plan)
            return verdict.accepted(snapshot)

    def _commit(self, snapshot: Snapshot, plan: planning.Plan) -> None:
        before = self.snapshot.version if self.snapshot else 0
        self._chaos.must(snapshot.version > before, f"{self.name}: version {snapshot.version} after {before}")
        accepted = self._accepted(self.name)
        older = f"{self.name}: version {snapshot.version}, and {accepted} is known to have been accepted before"
        self._chaos.must(snapshot.version >= accepted, older)
        self.snapshot = snapshot
        self._chaos.tell(f"{self.boot} runs version {snapshot.version}")
        ids = {spec.id for _, spec in planning.specs(snapshot)}
        self.orders = {id: order for id, order in self._ordered(snapshot).items() if id in ids}
        if snapshot.drained:
            self.intake = Intake.CLOSED
        for worker in self.workers:
            worker.inbox.append(("commit", snapshot.version))
        self.listening = (self.listening - plan.close) | plan.open
        as_planned = self.listening == set(planning.wanted(snapshot, self.orders))
        self._chaos.must(as_planned, f"{self.name}: the plan, performed, is not what is wanted")

    async def run(self, id: str, *, start: bool) -> bool:
        self._answers()
        life = self.boot
        async with self._lock:
            self._alive(life)
            spec = next((spec for _, spec in planning.specs(self.snapshot) if spec.id == id), None)
            if spec is None:
                return False
            self.orders[id] = start
            endpoint = planning.endpoint(spec)
            self.listening = self.listening | {endpoint} if start else self.listening - {endpoint}
            return True

    async def drain(self, *, drained: bool) -> bool:
        self._answers()
        self.intake = Intake.CLOSED if drained else Intake.OPEN
        return True

    # Partners

    def partner(self) -> None:
        """One connects to each listener that is open, and meets a worker that serves the snapshot in force."""
        if not self.up or self.snapshot is None or self.intake is Intake.CLOSED:
            return
        views = [SlotView(number, ready=True, sessions=0) for number in range(WORKERS)]
        for spec in self.snapshot.content.listeners:
            if planning.endpoint(spec) in self.listening and isinstance(spec, ListenerSpec):
                for slot in dispatch.place_partner(views, None, self._chaos.random.randrange(9), spec.id)[:1]:
                    self.workers[slot].inbox.append(("partner", self.snapshot.version))

    def turn(self) -> None:
        """Workers get what was sent to them, each at its own time; one may die, and its successor catches up."""
        for place, worker in enumerate(self.workers):
            if self._chaos.happens(0.05) and self.snapshot is not None:
                self.workers[place] = Worker(self._chaos, inbox=[("commit", self.snapshot.version)])
            elif not self._chaos.happens(0.5):
                worker.deliver()

    # Small things

    def _answers(self) -> None:
        if not self.up:
            raise UspError("server.unreachable", "connection refused")

    def _alive(self, life: str) -> None:
        """What was begun in an earlier life is not gone on with."""
        if not self.up or life != self.boot:
            raise UspError("server.unreachable", "connection reset")

    def _ordered(self, snapshot: Snapshot) -> dict[str, bool]:
        return {**self.orders, **dict.fromkeys(snapshot.stopped, False)}

    def _state(self, spec: Spec) -> ListenerState:
        return ListenerState.RUNNING if planning.endpoint(spec) in self.listening else ListenerState.STOPPED


# --- the network ---


class Network:
    """One manager's way to the servers: usp.manager.control.Controls, as far as the pusher uses it. Messages are slow,
    lost on the way there or back, or arrive once more much later."""

    def __init__(
        self, servers: Mapping[str, ProxyServer], chaos: Chaos, pause: Callable[[], Awaitable[object]], late: set[Any]
    ) -> None:
        self._servers = servers
        self._chaos = chaos
        self._pause = pause
        self._late = late
        self.cut: set[str] = set()

    async def status(self, endpoint: Endpoint) -> Report:
        async def ask(server: ProxyServer) -> Report:
            server._answers()
            return server.status()

        return await self._asked(endpoint, ask)

    async def put(self, endpoint: Endpoint, snapshot: Snapshot, boot: str) -> Ack:
        return await self._asked(endpoint, lambda server: server.put(snapshot, boot))

    async def run(self, endpoint: Endpoint, path: str, id: str, *, start: bool) -> bool:
        return await self._asked(endpoint, lambda server: server.run(id, start=start))

    async def drain(self, endpoint: Endpoint, *, drained: bool) -> bool:
        return await self._asked(endpoint, lambda server: server.drain(drained=drained))

    async def _asked(self, endpoint: Endpoint, ask: Callable[[ProxyServer], Awaitable[T]]) -> T:
        server = self._servers[endpoint.name]
        try:
            async with asyncio.timeout(TIMEOUT):
                await asyncio.sleep(self._chaos.seconds(0.3))
                await self._may_be_lost(endpoint.name)
                if self._chaos.happens(self._chaos.doubled):
                    self._again(server, ask)
                answer = await ask(server)
                await asyncio.sleep(self._chaos.seconds(0.3))
                await self._may_be_lost(endpoint.name)
        except TimeoutError:
            raise UspError("server.unreachable", "it does not answer in time") from None
        await self._pause()
        return answer

    async def _may_be_lost(self, name: str) -> None:
        if (self._chaos.on and name in self.cut) or self._chaos.happens(self._chaos.lost):
            await asyncio.sleep(TIMEOUT)

    def _again(self, server: ProxyServer, ask: Callable[[ProxyServer], Awaitable[Any]]) -> None:
        """The same message, a second time and late, of which nobody waits for the answer."""

        async def later() -> None:
            await asyncio.sleep(self._chaos.random.random() * 20)
            try:
                await ask(server)
            except UspError:
                self._chaos.tell(f"a late message to {server.name} was refused")

        task = asyncio.get_running_loop().create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


def clock(offset: Callable[[], timedelta]) -> Callable[[], datetime]:
    """A manager's own clock, which may be wrong."""
    return lambda: START + timedelta(seconds=asyncio.get_running_loop().time()) + offset()
