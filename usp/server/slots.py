"""A slot is a worker's place in the supervisor: it outlives the worker, and starts the next one.

`Worker` is one life of a worker process and what the supervisor knows of it: the sessions and links that it holds and
the snapshot that it serves. `Slot` keeps one alive (back-off between lives), brings it to the current snapshot before
it counts as ready, and closes the books of a worker that died.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

import orjson

from usp import backoff, metrics, tasks
from usp.diagnosis import LIMIT, MARGIN, Diagnosis, Task
from usp.errors import UspError
from usp.log import get_logger
from usp.server import ipc
from usp.server.dispatch import Link, SlotView
from usp.server.messages import (
    Abort,
    Commit,
    Drain,
    Events,
    FromWorker,
    LinkChanged,
    Metrics,
    Partner,
    Poll,
    Prepare,
    Prepared,
    Probe,
    Probed,
    Ready,
    SessionEnded,
    Sessions,
    Start,
    TargetHealth,
    TunnelSocket,
)
from usp.snapshot import Snapshot
from usp.status import Complaint, LinkState, LinkStatus, Outcome, SessionStatus, SlotStatus, advance

log = get_logger(__name__)

# -P: nothing is imported from the directory that it happens to run in.
COMMAND: Final = (sys.executable, "-P", "-m", "usp.server.worker")
PREPARE_TIMEOUT: Final = 30.0
POLL_TIMEOUT: Final = 5.0
MAX_PROBES: Final = 4  # at once, per worker
EXIT_TIMEOUT: Final = 5.0  # from the end of a worker's channel to its exit
FIRST_DELAY, LAST_DELAY = 0.1, 10.0
STABLE: Final = 30.0  # a worker that lived this long died by accident, not by illness
_NOT_INHERITED: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"})


class Process:
    """A child process that nobody has to poll: `exited` is done when it is gone and reaped."""

    def __init__(self, pid: int) -> None:
        self.pid: Final = pid
        self._pidfd = os.pidfd_open(pid)
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    def started(cls, command: Sequence[str], fd: int) -> Process:
        environ = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        # A session of its own: Ctrl-C at the supervisor's terminal is the supervisor's to handle.
        popen = subprocess.Popen(
            [*command, "--fd", str(fd)], pass_fds=[fd], stdin=subprocess.DEVNULL, env=environ, start_new_session=True
        )
        popen.returncode = 0  # it is reaped here, not by subprocess
        return cls(popen.pid)

    def kill(self) -> None:
        if not self.exited.done():
            os.kill(self.pid, signal.SIGKILL)

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set_result(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))


@dataclass(frozen=True, slots=True)
class HeldSession:
    """What the supervisor knows of a session, enough for its last word should the worker die."""

    ticket: Partner
    listener: str
    node: str


@dataclass(frozen=True, slots=True)
class HeldLink:
    """A link as the supervisor reports it."""

    link: Link
    peer: str
    since: float
    version: str = ""


class Worker:
    """One life of a worker process."""

    def __init__(self, slot: int, process: Process, channel: ipc.Channel[FromWorker]) -> None:
        self.slot = slot
        self.process = process
        self.channel = channel
        self.speaks = False  # it said Ready
        self.version = 0  # of the snapshot that it was told to serve
        self.sessions: dict[str, HeldSession] = {}
        self.links: dict[str, HeldLink] = {}
        self.down: frozenset[str] = frozenset()  # ids of listeners whose target is down
        self._prepared: dict[int, asyncio.Future[tuple[Complaint, ...]]] = {}
        self._polls: dict[int, tuple[list[SessionStatus], asyncio.Future[None]]] = {}
        self._probes: dict[int, asyncio.Future[Diagnosis | None]] = {}

    @classmethod
    def started(cls, slot: int, command: Sequence[str]) -> Worker:
        ours, theirs = ipc.pair()
        with theirs:
            try:
                return cls(slot, Process.started(command, theirs.fileno()), ipc.supervisor_end(ours))
            except OSError:
                ours.close()
                raise

    async def prepare(self, snapshot: Snapshot, memfd: int) -> tuple[Complaint, ...]:
        """Have it read the snapshot and keep it aside; its complaints, of which death and silence are two."""
        answer = self._prepared[snapshot.version] = asyncio.get_running_loop().create_future()
        self.channel.post(Prepare(version=snapshot.version), fds=[memfd])
        try:
            return await asyncio.wait_for(answer, PREPARE_TIMEOUT)
        except TimeoutError:
            return (Complaint(loc=(), msg=f"worker {self.slot} did not answer within {PREPARE_TIMEOUT:.0f} s"),)
        finally:
            self._prepared.pop(snapshot.version, None)

    def commit(self, version: int) -> None:
        self.channel.post(Commit(version=version))
        self.version = version

    def abort(self, version: int) -> None:
        self.channel.post(Abort(version=version))

    async def poll(self, request: int) -> list[SessionStatus]:
        """Its sessions, as it sees them; what it could tell in time."""
        done = asyncio.get_running_loop().create_future()
        found, _ = self._polls[request] = ([], done)
        self.channel.post(Poll(request=request))
        try:
            await asyncio.wait_for(done, POLL_TIMEOUT)
        except TimeoutError:
            log.warn("worker.silent", slot=self.slot, pid=self.process.pid)
        finally:
            self._polls.pop(request, None)
        return found

    async def probe(self, request: int, task: Task) -> Diagnosis:
        """What it found on that way. UspError: it has enough to do, or it died or fell silent meanwhile."""
        if len(self._probes) >= MAX_PROBES:
            raise UspError("probe.busy")
        answer: asyncio.Future[Diagnosis | None] = asyncio.get_running_loop().create_future()
        self._probes[request] = answer
        self.channel.post(Probe(request=request, task=task))
        found = None
        try:
            found = await asyncio.wait_for(answer, LIMIT + MARGIN)
        except TimeoutError:
            log.warn("worker.silent", slot=self.slot, pid=self.process.pid)
        finally:
            self._probes.pop(request, None)
        if found is None:
            raise UspError("server.unreachable", f"worker {self.slot} did not answer; try again")
        return found

    def give_partner(self, session: HeldSession, connection: socket.socket) -> bool:
        if not self.channel.send(session.ticket, [connection.fileno()]):
            return False
        self.sessions[session.ticket.session] = session
        return True

    def give_tunnel(self, message: TunnelSocket, connection: socket.socket) -> bool:
        if not self.channel.send(message, [connection.fileno()]):
            return False
        link = Link(tunnel=message.tunnel, source=message.peer_host, client="", state=LinkState.HANDSHAKING)
        self.links[message.link] = HeldLink(link, f"{message.peer_host}:{message.peer_port}", time.time())
        return True

    def hear(self, message: FromWorker) -> None:
        """Book what the worker says about itself."""
        match message:
            case Ready():
                self.speaks = True
            case Prepared(version=version, problems=problems):
                _resolve(self._prepared.get(version), problems)
            case SessionEnded(session=session):
                self.sessions.pop(session, None)
            case LinkChanged():
                self._link_changed(message)
            case TargetHealth(down=down):
                self.down = frozenset(down)
            case Sessions(request=request, sessions=sessions, last=last) if request in self._polls:
                found, done = self._polls[request]
                found.extend(sessions)
                if last:
                    _resolve(done, None)
            case Probed(request=request, diagnosis=diagnosis):
                _resolve(self._probes.get(request), diagnosis)

    def gone(self) -> None:
        """Nobody waits for a dead worker."""
        self.channel.close()
        for answer in self._prepared.values():
            _resolve(answer, (Complaint(loc=(), msg=f"worker {self.slot} ended while it prepared the snapshot"),))
        for _, done in self._polls.values():
            _resolve(done, None)
        for found in self._probes.values():
            _resolve(found, None)

    def _link_changed(self, message: LinkChanged) -> None:
        held = self.links.get(message.link)
        if held is None:
            return
        if message.state is LinkState.DOWN:
            del self.links[message.link]
            return
        link = replace(
            held.link, client=message.client or held.link.client, state=advance(held.link.state, message.state)
        )
        self.links[message.link] = replace(held, link=link, version=message.version or held.version)


class Slot:
    """Keeps one worker alive. `current` gives the snapshot in force, `audit` takes finished audit lines, `counted` the
    workers' metrics, `heard` everything that a worker says (and the end of its sessions when it dies)."""

    def __init__(
        self,
        start: Start,
        current: Callable[[], Snapshot | None],
        audit: Callable[[str], object],
        counted: metrics.Workers,
        command: Sequence[str] = COMMAND,
        heard: Callable[[Worker, FromWorker], None] = lambda worker, message: None,
    ) -> None:
        self.number: Final = start.slot
        self.worker: Worker | None = None
        self.restarts = 0
        self.up = asyncio.Event()
        self._start = start
        self._current = current
        self._heard = heard
        self._audit = audit
        self._counted = counted
        self._command = command
        self._ending = asyncio.Event()
        self._bringing_up: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Worker | None:
        """The worker, if it takes partners and links under the snapshot in force."""
        return self.worker if self.up.is_set() and not self._ending.is_set() else None

    def view(self) -> SlotView:
        worker = self.ready
        if worker is None:
            return SlotView(self.number, ready=False, sessions=0)
        links = tuple(held.link for held in worker.links.values())
        return SlotView(self.number, ready=True, sessions=len(worker.sessions), links=links, down=worker.down)

    def status(self) -> SlotStatus:
        worker = self.worker
        return SlotStatus(
            slot=self.number,
            pid=worker.process.pid if worker else None,
            ready=self.ready is not None,
            sessions=len(worker.sessions) if worker else 0,
            restarts=self.restarts,
        )

    def link_status(self, tunnel: str) -> tuple[LinkStatus, ...]:
        if self.worker is None:
            return ()
        return tuple(
            LinkStatus(
                id=id,
                client=held.link.client,
                slot=self.number,
                state=held.link.state,
                peer=held.peer,
                version=held.version,
                since=held.since,
            )
            for id, held in self.worker.links.items()
            if held.link.tunnel == tunnel
        )

    async def run(self) -> None:
        """One worker after the other, until `drain`."""
        failures = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self.worker = worker = Worker.started(self.number, self._command)
            except OSError as error:
                log.error("worker.not_started", slot=self.number, reason=os.strerror(error.errno or 0))
            else:
                log.info("worker.started", slot=self.number, pid=worker.process.pid)
                worker.channel.post(self._start)
                await self._live(worker)
            failures = 1 if time.monotonic() - began > STABLE else failures + 1
            await self._wait(backoff.delay(failures - 1, random.random(), FIRST_DELAY, LAST_DELAY))  # noqa: S311
            if not self._ending.is_set():
                self.restarts += 1
                metrics.WORKER_RESTARTS_TOTAL.inc()

    async def see_out(self, worker: Worker, seconds: float) -> None:
        """The only life here is a worker of before an upgrade, which takes nothing new."""
        self.worker = worker
        self._ending.set()
        worker.channel.post(Drain(seconds=seconds, notice=True))
        await self._live(worker)

    def drain(self, seconds: float) -> None:
        """No further life; this one takes nothing new and ends with its last session, or after `seconds`."""
        self._ending.set()
        if self.worker is not None:
            self.worker.channel.post(Drain(seconds=seconds))

    def kill(self) -> None:
        self._ending.set()
        if self.worker is not None:
            self.worker.process.kill()

    def bring_up(self) -> None:
        """Have the worker catch up with the snapshot in force, if it does not do so already."""
        self.up.clear()
        if self.worker is None or not self.worker.speaks:
            return
        if self._bringing_up is None or self._bringing_up.done():
            self._bringing_up = tasks.spawn(self._bring_up(self.worker), f"bring up slot {self.number}")

    async def _live(self, worker: Worker) -> None:
        try:
            await self._listen(worker)
        except Exception as error:  # whatever a sick worker says must not end the slot
            log.error("worker.babbles", slot=self.number, pid=worker.process.pid, exc_info=error)
            worker.process.kill()
        finally:
            self.up.clear()
            worker.gone()
            code = await _exit_code(worker.process)
            self.worker = None
            self._close_books(worker, code)

    async def _listen(self, worker: Worker) -> None:
        while (received := await worker.channel.receive()) is not None:
            message, fds = received
            ipc.close_all(fds)  # a worker has none to give
            worker.hear(message)
            self._heard(worker, message)
            if isinstance(message, Ready):
                self.bring_up()
            elif isinstance(message, Events):
                for line in message.lines:
                    self._audit(line)
            elif isinstance(message, Metrics):
                self._counted.update(self.number, message.samples, more=message.more)

    async def _bring_up(self, worker: Worker) -> None:
        while (snapshot := self._current()) is not None and worker.version != snapshot.version:
            memfd = ipc.to_memfd(snapshot.to_wire())
            try:
                complaints = await worker.prepare(snapshot, memfd)
            finally:
                os.close(memfd)
            if worker is not self.worker or worker.process.exited.done():
                return
            if complaints:  # it was good for another worker, so this one is not well
                log.error("worker.unfit", slot=self.number, problems=[complaint.msg for complaint in complaints])
                worker.process.kill()
                return
            worker.commit(snapshot.version)
        if worker is self.worker:
            self.up.set()

    def _close_books(self, worker: Worker, code: int) -> None:
        self._counted.end(self.number)
        outcome = Outcome.DRAINED if self._ending.is_set() else Outcome.INTERNAL
        for session in worker.sessions.values():
            self._audit(_last_word(session, outcome))
            self._heard(worker, SessionEnded(session=session.ticket.session, outcome=outcome))
            metrics.SESSIONS_TOTAL.labels(session.listener, outcome).inc()
        told = log.info if self._ending.is_set() and code == 0 else log.error
        told("worker.ended", slot=self.number, pid=worker.process.pid, status=code, sessions_lost=len(worker.sessions))

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return


async def _exit_code(process: Process) -> int:
    """Of a worker whose channel has ended, which therefore has nothing left to do."""
    try:
        return await asyncio.wait_for(asyncio.shield(process.exited), EXIT_TIMEOUT)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        return await process.exited


def _last_word(session: HeldSession, outcome: Outcome) -> str:
    """What the session's worker cannot say any more, in the form that it would have used."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    facts = {
        "time": now,
        "session": session.ticket.session,
        "listener": session.listener,
        "peer": f"{session.ticket.peer_host}:{session.ticket.peer_port}",
        "node": session.node,
        "event": "session.ended",
        "outcome": str(outcome),
        "reason": "the worker process ended",
    }
    return orjson.dumps(facts).decode()


T = TypeVar("T")


def _resolve(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
