"""The supervisor: owns the snapshot in force, the listening sockets and the slots, and performs what was decided.

`apply` is all or nothing. First everything that can fail is done beside what serves: new ports are bound, every worker
reads the snapshot. Only when all of it went well does the snapshot come into force, in one step that cannot fail;
otherwise everything new is thrown away, and the manager hears why.

No SSH byte is read here, and nothing of a snapshot is written to disk.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from usp import __version__, diagnosis, metrics, tasks
from usp import log as logs
from usp import plan as planning
from usp.diagnosis import Diagnosis
from usp.errors import Problem, UspError
from usp.log import get_logger
from usp.plan import Endpoint, Plan, Spec
from usp.server import dispatch, ipc, reports, verdict
from usp.server.acceptor import Acceptor
from usp.server.advice import Facts, advice
from usp.server.bucket import Demand, Demands
from usp.server.door import Door
from usp.server.handover import Handed
from usp.server.messages import CloseLinks, FromWorker, Kill, Shares, Start, Wanted
from usp.server.reception import Reception
from usp.server.reports import State
from usp.server.slots import COMMAND, HeldSession, Slot, Worker
from usp.server.succession import Succession
from usp.settings import ServerSettings
from usp.snapshot import ListenerSpec, Snapshot, TunnelSpec
from usp.status import (
    Ack,
    AckResult,
    CertificateStatus,
    Complaint,
    ListenerState,
    Report,
    SessionStatus,
    advance,
)

log = get_logger(__name__)

START_TIMEOUT: Final = 20.0  # for the first workers to speak

KILL_MARGIN: Final = 3.0  # what workers get beyond drain_timeout

Bound = dict[Endpoint, socket.socket]
_STOPPED: Final[State] = (ListenerState.STOPPED, "")


class Supervisor(Succession):
    def __init__(
        self, settings: ServerSettings, audit: Callable[[str], object], command: Sequence[str] = COMMAND
    ) -> None:
        self.snapshot: Snapshot | None = None
        self.draining = False  # it shuts down
        self.counted: Final = metrics.Workers()
        self.certificates: Callable[[], tuple[CertificateStatus, ...]] = tuple  # what the report says of them
        self._settings = settings
        self._boot = secrets.token_hex(8)
        self._started_at = time.time()
        self._lock = asyncio.Lock()  # one apply, start or stop at a time
        self.reception = Reception(settings, audit)
        self._demands = Demands()
        self._door = Door(settings.agent, self.reception)
        self._acceptor = Acceptor(self.reception.accepted)
        self._orders: dict[str, bool] = {}
        self._states: dict[str, State] = {}
        self._turn = itertools.count()
        self._requests = itertools.count(1)
        self._lives = tasks.TaskSet()
        self._leaving: list[Slot] = []  # one for each worker of before an upgrade
        count = settings.workers or len(os.sched_getaffinity(0))
        effective = settings.model_dump_json()

        def slot(number: int) -> Slot:
            start = Start(slot=number, slots=count, server=settings.name, settings=effective)
            return Slot(start, lambda: self.snapshot, audit, self.counted, command, self._heard)

        self._new_slot = slot
        self.slots = [slot(number) for number in range(count)]
        self.reception.slots.extend(self.slots)
        metrics.QUEUE_DEPTH.labels("workers").set_function(
            lambda: sum(worker.channel.queued for worker in self._workers())
        )
        metrics.WORKERS_READY.set_function(lambda: sum(slot.ready is not None for slot in self.slots))

    # --- life ---

    async def start(self, handed: Handed | None = None) -> None:
        """Start the workers, and wait for a while until they speak. `handed`: what an upgrade goes on with."""
        async with self._lock:
            if handed is not None:
                self._take_over(handed)
            for slot in self.slots:
                self._lives.spawn(slot.run(), f"slot {slot.number}")
            speaking = [tasks.spawn(slot.up.wait(), f"slot {slot.number} up") for slot in self.slots]
            _, silent = await asyncio.wait(speaking, timeout=START_TIMEOUT)
            for task in silent:
                task.cancel()
            if silent:
                log.error("workers.silent", count=len(silent), seconds=START_TIMEOUT)
            if handed is not None:
                await self._accept_again(handed)

    async def drain(self) -> None:
        """Stop accepting, let sessions end for `drain_timeout` seconds, end the rest; no worker is left afterwards."""
        self.draining = True
        self._acceptor.close_all()
        for id, (state, _) in self._states.items():
            if state is ListenerState.RUNNING:
                self._step(id, ListenerState.DRAINING)
        seconds = self._settings.server.drain_timeout
        log.info("drain.started", sessions=sum(1 for _ in self._sessions()), seconds=seconds)
        for slot in (*self.slots, *self._leaving):
            slot.drain(seconds)
        if not await self._lives.wait(seconds + KILL_MARGIN):
            log.error("drain.overdue")
            await self.kill()
        await self.reception.close()
        log.info("drain.ended")

    async def kill(self) -> None:
        """End everything now."""
        self.draining = True
        self._acceptor.close_all()
        await self.reception.close()
        for slot in (*self.slots, *self._leaving):
            slot.kill()
        await self._lives.wait()

    def set_drained(self, drained: bool) -> None:
        """Refuse new sessions, or take them again."""
        self._door.set_drained(drained, serving=bool(self._acceptor.endpoints))

    def advice(self, listener: str) -> str:
        """What a load balancer is to do with this server, for that Listener ("": for all)."""
        listening = [
            spec
            for endpoint, spec in planning.wanted(self.snapshot, self._orders).items()
            if isinstance(spec, ListenerSpec) and endpoint in self._acceptor.endpoints
        ]
        facts = Facts(
            slots=[slot.view() for slot in self.slots],
            listening=listening,
            max_sessions=self._settings.server.max_sessions,
            shutting_down=self.draining,
            drained=bool(self._door.reason),
        )
        return advice(facts, listener, self._settings.agent.drained)

    def unready(self) -> str:
        """Why partners cannot be served, or ""."""
        if self.draining:
            return "draining"
        if self._door.reason:
            return self._door.reason
        if not any(slot.ready for slot in self.slots):
            return "no worker process is ready"
        return "" if self.snapshot else "no configuration yet"

    # --- configuration ---

    async def apply(self, snapshot: Snapshot, boot: str = "") -> Ack:
        """Put the snapshot into force, or say why not; then the one before still is. `boot`: the life of this server
        that it is meant for, if that was said: one that restarted since may be due a newer version."""
        if boot not in ("", self._boot):
            raise UspError("server.restarted")
        self._not_draining()
        async with self._lock:
            answer = verdict.judge(self._settings.name, self.snapshot, snapshot)
            if answer is not None:
                return self._answer(answer)
            plan = planning.plan(self._acceptor.endpoints, snapshot, self._ordered(snapshot))
            bound: Bound = {}
            workers = [worker for slot in self.slots if (worker := slot.ready) is not None]
            try:
                problems = await self._prepare(snapshot, plan, bound, workers)
            except BaseException:
                self._abort(snapshot, bound, workers)
                raise
            if problems:
                self._abort(snapshot, bound, workers)
                return self._answer(verdict.rejected(self.snapshot, "push.rejected", problems))
            self._commit(snapshot, plan, bound, workers)
            log.info("snapshot.applied", version=snapshot.version, digest=snapshot.digest)
            return verdict.accepted(snapshot)

    async def start_component(self, kind: type[Spec], id: str) -> None:
        """Start a listener or tunnel that is stopped or failed."""
        self._not_draining()
        async with self._lock:
            endpoint = planning.endpoint(self._spec(kind, id))
            if endpoint in self._acceptor.endpoints:
                self._orders[id] = True
                return
            self._step(id, ListenerState.STARTING)
            try:
                sock = self._acceptor.bind(endpoint)
            except UspError as error:
                self._step(id, ListenerState.FAILED, reason=error.message)
                raise
            self._orders[id] = True
            self._serve(self._need())
            self._acceptor.open(endpoint, sock)
            self._step(id, ListenerState.RUNNING)

    async def stop_component(self, kind: type[Spec], id: str) -> None:
        """Stop a listener (its sessions go on) or a tunnel (its links are closed)."""
        async with self._lock:
            spec = self._spec(kind, id)
            self._orders[id] = False
            self._serve(self._need())
            self._acceptor.close(planning.endpoint(spec))
            self._settle(id, running=False)
            if isinstance(spec, TunnelSpec):
                for worker in self._workers():
                    worker.channel.post(CloseLinks(tunnel=id))

    async def _prepare(
        self, snapshot: Snapshot, plan: Plan, bound: Bound, workers: Sequence[Worker]
    ) -> list[Complaint]:
        """Do everything that can fail. What it binds is put into `bound`."""
        if not workers:
            raise UspError("server.unreachable", "no worker process is ready; try again")
        wrong = list(planning.problems(snapshot)) or list(self._bind(snapshot, plan, bound))
        if wrong:
            return [Complaint(loc=problem.loc, msg=problem.msg) for problem in wrong]
        memfd = ipc.to_memfd(snapshot.to_wire())
        try:
            answers = await asyncio.gather(*(worker.prepare(snapshot, memfd) for worker in workers))
        finally:
            os.close(memfd)
        return list(dict.fromkeys(complaint for answer in answers for complaint in answer))

    def _bind(self, snapshot: Snapshot, plan: Plan, bound: Bound) -> Iterator[Problem]:
        for loc, spec in planning.specs(snapshot):
            endpoint = planning.endpoint(spec)
            if endpoint in plan.open and planning.is_wanted(spec, self._ordered(snapshot)):
                try:
                    bound[endpoint] = self._acceptor.bind(endpoint, plan.yielding(endpoint))
                except UspError as error:
                    what = "listener" if isinstance(spec, ListenerSpec) else "tunnel"
                    yield Problem((*loc, "port"), f"{what} '{spec.name}' cannot listen on {error.message}")

    def _abort(self, snapshot: Snapshot, bound: Bound, workers: Sequence[Worker]) -> None:
        for sock in bound.values():
            sock.close()
        for worker in workers:
            worker.abort(snapshot.version)

    def _commit(self, snapshot: Snapshot, plan: Plan, bound: Bound, workers: Sequence[Worker]) -> None:
        """The step that cannot fail: there is no await in it."""
        self.snapshot = snapshot
        logs.context(configuration=snapshot.version)
        for worker in workers:
            worker.commit(snapshot.version)
        for slot in self.slots:
            if slot.worker not in workers:
                slot.bring_up()
        ids = {spec.id for _, spec in planning.specs(snapshot)}
        self._orders = {id: order for id, order in self._ordered(snapshot).items() if id in ids}
        if snapshot.drained:
            self.set_drained(True)
        self._serve(snapshot)
        for endpoint in plan.close:
            self._acceptor.close(endpoint)
        for endpoint, sock in bound.items():
            self._acceptor.open(endpoint, sock)
        self._states = {id: self._states.get(id, _STOPPED) for id in ids}
        for _, spec in planning.specs(snapshot):
            self._settle(spec.id, running=planning.is_wanted(spec, self._orders))

    def _ordered(self, snapshot: Snapshot) -> dict[str, bool]:
        """The orders to start and stop that go with it."""
        return {**self._orders, **dict.fromkeys(snapshot.stopped, False)}

    def _serve(self, snapshot: Snapshot) -> None:
        """From now on connections are dispatched by this snapshot and the orders in force."""
        self.reception.serve(snapshot, planning.wanted(snapshot, self._orders))

    # --- what is going on ---

    def report(self) -> Report:
        per_listener = Counter(session.ticket.listener for session in self._sessions())
        content = self.snapshot.content if self.snapshot else None
        relayed = self.counted.relayed()
        return Report(
            server=self._settings.name,
            software=__version__,
            boot=self._boot,
            started_at=self._started_at,
            version=self.snapshot.version if self.snapshot else 0,
            digest=self.snapshot.digest if self.snapshot else "",
            draining=self.draining,
            intake=self._door.intake,
            sessions=per_listener.total(),
            bytes_in=sum(bytes_in for bytes_in, _ in relayed.values()),
            bytes_out=sum(bytes_out for _, bytes_out in relayed.values()),
            slots=tuple(slot.status() for slot in self.slots),
            listeners=tuple(
                reports.listener(spec, self._state(spec), per_listener[spec.id], relayed.get(spec.name, (0, 0)))
                for spec in (content.listeners if content else ())
            ),
            tunnels=tuple(
                reports.tunnel(spec, self._state(spec), (*self.slots, *self._leaving))
                for spec in (content.tunnels if content else ())
            ),
            certificates=self.certificates(),
        )

    async def sessions(self) -> list[SessionStatus]:
        """All sessions, as the workers that hold them see them."""
        speaking = [worker for worker in self._workers() if worker.speaks]
        answers = await asyncio.gather(*(worker.poll(next(self._requests)) for worker in speaking))
        return [session for answer in answers for session in answer]

    def kill_session(self, id: str) -> bool:
        """Whether there is such a session; it ends soon."""
        for worker in self._workers():
            if id in worker.sessions:
                worker.channel.post(Kill(session=id))
                return True
        return False

    async def probe(self, ask: diagnosis.Probe) -> Diagnosis:
        """Test the way to the target of a listener."""
        spec = self._spec(ListenerSpec, ask.listener)
        assert isinstance(spec, ListenerSpec)
        to = spec.direct or spec.target
        assert to is not None
        return await self.scan(
            diagnosis.PathProbe(
                host=to.host,
                port=to.port,
                path=spec.path,
                target=spec.target,
                login=ask.login,
                send_proxy_v2=to.send_proxy_v2,
            )
        )

    async def scan(self, task: diagnosis.Task) -> Diagnosis:
        """Have a worker do it: one that holds a link for the path, else the first that says that there is none."""
        views = [slot.view() for slot in self.slots]
        turn = next(self._turn)
        able = dispatch.place_partner(views, task.path, turn) or dispatch.place_partner(views, None, turn)
        worker = next((self.slots[number].ready for number in able), None)
        if worker is None:
            raise UspError("server.unreachable", "no worker process is ready; try again")
        return await worker.probe(next(self._requests), task)

    def _state(self, spec: Spec) -> State:
        state, reason = self._states[spec.id]
        if state is ListenerState.STOPPED:
            reason = planning.why_not(spec, self._orders)
        elif isinstance(spec, ListenerSpec):
            reason = reason or self._door.reason
        return state, reason

    # --- small things ---

    def _heard(self, worker: Worker, message: FromWorker) -> None:
        if isinstance(message, Wanted):
            wanted = {each.key: (each.rate, Demand(each.used, each.channels, each.held)) for each in message.limits}
            found = self._demands.told(worker.slot, wanted, time.monotonic())
            worker.channel.post(Shares(shares=tuple(found.items())))
        else:
            self.reception.heard(worker, message)

    def _workers(self) -> list[Worker]:
        return [slot.worker for slot in (*self.slots, *self._leaving) if slot.worker is not None]

    def _sessions(self) -> Iterator[HeldSession]:
        return (session for worker in self._workers() for session in worker.sessions.values())

    def _need(self) -> Snapshot:
        assert self.snapshot is not None
        return self.snapshot

    def _spec(self, kind: type[Spec], id: str) -> Spec:
        found = next((spec for _, spec in planning.specs(self.snapshot) if spec.id == id), None)
        if not isinstance(found, kind):
            raise UspError("deployment.unknown", id=id)
        return found

    def _not_draining(self) -> None:
        if self.draining:
            raise UspError("server.draining")

    def _step(self, id: str, to: ListenerState, reason: str = "") -> None:
        self._states[id] = advance(self._states[id][0], to), reason

    def _settle(self, id: str, *, running: bool) -> None:
        """Go to running or stopped on the table's way."""
        state, _ = self._states[id]
        if running and state is not ListenerState.RUNNING:
            self._step(id, ListenerState.STARTING)
            self._step(id, ListenerState.RUNNING)
        if not running and state is ListenerState.RUNNING:
            self._step(id, ListenerState.STOPPING)
        if not running:
            self._step(id, ListenerState.STOPPED)

    def _answer(self, ack: Ack) -> Ack:
        if ack.result is AckResult.REJECTED:
            problems = [Problem(problem.loc, problem.msg) for problem in ack.problems]
            log.error("snapshot.rejected", exc_info=UspError(ack.code, problems=problems))
        return ack
