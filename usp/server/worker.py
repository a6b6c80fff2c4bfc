"""A worker of usp-server: `python -m usp.server.worker --fd N`. It speaks SSH; it never binds.

The supervisor sends settings, snapshots and accepted sockets over the descriptor N (see `messages`), the worker answers
with facts. Snapshots are kept while they are current or a live session began with them. When the supervisor is gone
(EOF), the worker lets its sessions end for `drain_timeout` and exits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from usp import hardening, metrics, tasks
from usp import log as logs
from usp.diagnosis import Diagnosis
from usp.errors import Problem, UspError
from usp.log import get_logger
from usp.model import Model
from usp.passwords import REMEMBERED_SECONDS, Passwords
from usp.server import ipc, messages, probe
from usp.server.barred import Barred
from usp.server.direct import Direct
from usp.server.ipc import Channel
from usp.server.journal import Journal
from usp.server.messages import ToWorker
from usp.server.pool import Pool
from usp.server.prepared import Prepared, link_timing, prepare
from usp.server.scanner import Scanner
from usp.server.session import Limits, Session
from usp.server.sweep import Sweep
from usp.server.throttle import Throttle
from usp.server.traces import traced
from usp.server.trials import Trial, Trials, free
from usp.server.tunnels import Link, Links
from usp.server.watch import Watch
from usp.settings import ServerSettings
from usp.snapshot import PathSpec
from usp.ssh import fastpath
from usp.status import Complaint, LinkState, Outcome

log = get_logger(__name__)

REPORT_INTERVAL: Final = 2.0
SHARE_INTERVAL: Final = 1.0
PARTING: Final = 2.0
"""Seconds for sessions to take leave once they were told to, and for the last messages to be read."""
MAX_QUEUED: Final = 10_000
"""Messages that may wait for the supervisor before facts (events, metrics) are dropped and counted."""
_PROBLEMS: Final = 100  # per answer: it must fit a packet
_NO_ROOM: Final = "the worker has no descriptor left: raise LimitNOFILE"
_STATUSES: Final = 50
_SAMPLES: Final = 400
MAX_USERNAME: Final = 256
"""What the supervisor hears of a user name that a stranger made up."""


class Worker:
    def __init__(self, channel: Channel[ToWorker], start: messages.Start, settings: ServerSettings) -> None:
        self._channel = channel
        self._start = start
        self._settings = settings
        limits = settings.server
        self._limits = Limits(
            limits.login_timeout, limits.connect_timeout, limits.idle_timeout, limits.max_session_time
        )
        self._links = Links(start.server, start.slot, start.slots, link_timing(settings), channel.post)
        self._watch = Watch(self._find_link, channel.post, limits.connect_timeout)
        self._pool = Pool(self._watch, limits.connect_timeout)
        self._passwords = Passwords(remember=REMEMBERED_SECONDS)
        self._barred = Barred()
        self._scanner = Scanner()
        self._trials = Trials(channel.post)
        self._journal = Journal(channel.post, lambda: channel.queued >= MAX_QUEUED)
        self._traces = traced(settings.traces, start.server, start.slot, self._journal.tell)
        self._audit = self._traces.tell if self._traces else self._journal.tell
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._unshared = asyncio.Event()  # a limit is used that was not
        self._throttle = Throttle(loop, start.slots, self._unshared.set)
        self._versions: dict[int, Prepared] = {}
        self._current = 0
        self._preparing = 0
        self._sessions: dict[str, Session | Direct] = {}
        self._sweep = Sweep()
        self._serving = tasks.TaskSet()
        self._others = tasks.TaskSet()
        self._draining: float | None = None  # until when
        self._drain_task: asyncio.Task[None] | None = None
        self._done = asyncio.Event()
        self._tunnels: set[str] = set()  # names of those that ever had a link

    async def run(self) -> None:
        """Until drained."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain, self._settings.server.drain_timeout)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C reaches all processes: the supervisor decides
        self._channel.post(messages.Ready(pid=os.getpid()))
        self._others.spawn(self._receive(), "messages")
        self._others.spawn(self._report(), "metrics")
        if self._start.slots > 1:
            self._others.spawn(self._share(), "bandwidth")
        await self._done.wait()
        await self._others.cancel()
        self._passwords.close()
        if self._traces:
            self._traces.close()

    # --- messages ---

    async def _receive(self) -> None:
        try:
            while (packet := await self._channel.receive()) is not None:
                self._take(*packet)
        except Exception as exc:  # a bug: the supervisor starts a new worker
            log.error("worker.failed", exc_info=exc, slot=self._start.slot)
            self._done.set()
            return
        if self._draining is None:
            log.warn("worker.abandoned", slot=self._start.slot)
        self._drain(self._settings.server.drain_timeout)

    def _take(self, message: ToWorker, fds: Sequence[int]) -> None:
        match message:
            case messages.Partner() | messages.TunnelSocket() | messages.Prepare() if not fds:
                self._no_room(message)
            case messages.Partner():
                self._partner(message, socket.socket(fileno=fds[0]))
            case messages.TunnelSocket():
                self._tunnel_socket(message, socket.socket(fileno=fds[0]))
            case messages.Prepare():
                self._prepare(message.version, fds[0])
            case messages.Commit():
                self._commit(message.version)
            case messages.Abort():
                self._preparing = 0
                self._forget()
            case messages.CloseLinks():
                self._links.close(message.tunnel)
            case messages.Kill():
                if session := self._sessions.get(message.session):
                    session.end(message.outcome)
            case messages.Bar():
                self._barred.set(message.username, self._now() + message.seconds)
            case messages.Verdict():
                self._trials.answered(message)
            case messages.Shares():
                self._throttle.given(dict(message.shares))
            case messages.Drain():
                if message.notice:
                    self._links.give_notice()
                self._drain(message.seconds)
            case messages.Poll():
                self._answer(message.request)
            case messages.Probe():
                self._others.spawn(self._probe(message), f"probe {message.request}")
            case messages.Start():
                raise UspError("internal", "a worker is started once")

    def _no_room(self, message: messages.Partner | messages.TunnelSocket | messages.Prepare) -> None:
        """The descriptor that came with it found no room here, so it is closed already: whoever it is for is refused,
        and those that are here go on."""
        log.error("worker.no_descriptors", refused=message.op, slot=self._start.slot)
        match message:
            case messages.Partner():
                self._tell(messages.SessionEnded(session=message.session, outcome=Outcome.LIMIT))
            case messages.TunnelSocket():
                link, tunnel, down = message.link, message.tunnel, LinkState.DOWN
                self._channel.post(messages.LinkChanged(link=link, tunnel=tunnel, state=down, reason=_NO_ROOM))
            case messages.Prepare():
                complaint = Complaint(loc=(), msg=_NO_ROOM)
                self._channel.post(messages.Prepared(version=message.version, problems=(complaint,)))

    # --- snapshots ---

    def _prepare(self, version: int, fd: int) -> None:
        self._preparing = version
        try:
            wire = ipc.from_memfd(fd)
        finally:
            os.close(fd)
        self._others.spawn(self._prepared(version, wire), f"prepare {version}")

    async def _prepared(self, version: int, wire: bytes) -> None:
        problems: tuple[Problem, ...] = (Problem((), "the worker failed; its log has the details"),)
        try:
            ready, problems = await asyncio.to_thread(prepare, wire, self._start.server, self._settings)
            if ready is not None and self._preparing == version:
                self._versions[version] = ready
        finally:
            complaints = tuple(Complaint(loc=each.loc, msg=each.msg) for each in problems[:_PROBLEMS])
            self._channel.post(messages.Prepared(version=version, problems=complaints))

    def _commit(self, version: int) -> None:
        self._current, self._preparing = version, 0
        logs.context(configuration=version)
        self._throttle.serve(self._versions[version].limits)
        self._links.retain(self._versions[version].snapshot)
        self._watch.serve(self._versions[version].snapshot)
        self._forget()

    def _forget(self) -> None:
        used = {self._current, self._preparing, *(session.version for session in self._sessions.values())}
        for version in self._versions.keys() - used:
            del self._versions[version]

    # --- sessions and links ---

    def _partner(self, ticket: messages.Partner, sock: socket.socket) -> None:
        self._serving.spawn(self._serve(ticket, sock), f"session {ticket.session}")

    async def _serve(self, ticket: messages.Partner, sock: socket.socket) -> None:
        """Exactly one SessionEnded, whatever happens."""
        outcome = Outcome.INTERNAL
        try:
            if self._draining is not None:
                sock.close()
                outcome = Outcome.DRAINED
            else:
                session = self._sessions[ticket.session] = self._session(ticket)
                with logs.bound(session=ticket.session, configuration=ticket.version):
                    outcome = await session.run(sock)
        except Exception as exc:
            sock.close()
            log.error("session.crashed", exc_info=exc, session=ticket.session)
        finally:
            self._sessions.pop(ticket.session, None)
            self._sweep.order()
            self._tell(messages.SessionEnded(session=ticket.session, outcome=outcome))
            self._forget()

    def _session(self, ticket: messages.Partner) -> Session | Direct:
        ready = self._versions[ticket.version]
        listener = ready.snapshot.listener(ticket.listener)
        assert listener is not None
        path = listener.path

        def find_link() -> Link | None:
            return self._find_link(path) if path else None

        if listener.direct is not None:
            return Direct(ticket, listener, self._limits, find_link, self._audit, self._throttle)
        door = ready.doors[ticket.listener, ticket.node]

        def barred(username: str) -> bool:
            return not ticket.exempt and username not in ticket.known and self._barred.holds(username, self._now())

        def trial(username: str) -> AbstractAsyncContextManager[Trial]:
            if ticket.exempt or not self._settings.limits.target_failures:
                return free()
            return self._trials.trial(ticket.session, door.target.spec.name, username[:MAX_USERNAME])

        decided, tell = partial(self._decided, ticket.session), self._audit
        more = decided, barred, self._pool, trial, self._scanner, self._throttle
        return Session(ticket, door, self._limits, find_link, tell, self._passwords, *more)

    def _find_link(self, path: PathSpec) -> Link | None:
        return self._links.get(path.tunnel, path.client)

    def _decided(self, session: str, admitted: bool, username: str) -> None:
        """The supervisor keeps the ledger."""
        if admitted:
            self._tell(messages.Authenticated(session=session, username=username))
        else:
            self._tell(messages.LoginFailed(session=session, username=username[:MAX_USERNAME]))

    def _tell(self, message: Model) -> None:
        """With what the audit log is to hear until then."""
        self._channel.post(*self._journal.taken(), message)

    def _tunnel_socket(self, message: messages.TunnelSocket, sock: socket.socket) -> None:
        current = self._versions.get(self._current)
        spec = current.snapshot.tunnel(message.tunnel) if current else None
        if spec is None or self._draining is not None:
            sock.close()
            reason = (
                "the server is shutting down" if self._draining is not None else "the tunnel is not configured any more"
            )
            down = messages.LinkChanged(link=message.link, tunnel=message.tunnel, state=LinkState.DOWN, reason=reason)
            self._channel.post(down)
        else:
            self._tunnels.add(spec.name)
            self._links.adopt(sock, spec, message.link, f"{message.peer_host}:{message.peer_port}")

    async def _probe(self, message: messages.Probe) -> None:
        found = Diagnosis()
        path = message.task.path
        link = self._links.get(path.tunnel, path.client) if path else None
        try:
            found = await probe.diagnose(message.task, link, self._settings.server.connect_timeout)
        finally:
            self._channel.post(messages.Probed(request=message.request, diagnosis=found))

    # --- the end ---

    def _drain(self, seconds: float) -> None:
        """Anew, if it has to be faster than was said before."""
        until = self._now() + seconds
        if self._draining is not None and until >= self._draining:
            return
        self._draining = until
        if self._drain_task is not None:
            self._drain_task.cancel()
        self._drain_task = self._others.spawn(self._drained(seconds), "drain")

    async def _drained(self, seconds: float) -> None:
        if not await self._serving.wait(seconds):
            for session in tuple(self._sessions.values()):
                session.end(Outcome.DRAINED)
            await self._serving.wait(PARTING)
        await self._pool.aclose()
        await self._watch.aclose()
        await self._links.aclose()
        self._journal.flush()
        self._send_metrics()
        for _ in range(100):
            if self._channel.queued:
                await asyncio.sleep(PARTING / 100)
        self._done.set()

    # --- what the supervisor is told ---

    def _answer(self, request: int) -> None:
        statuses = [session.status(self._start.slot) for session in self._sessions.values()]
        parts = [statuses[at : at + _STATUSES] for at in range(0, len(statuses), _STATUSES)] or [[]]
        for part in parts:
            last = part is parts[-1]
            self._channel.post(messages.Sessions(request=request, sessions=tuple(part), last=last))

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        lag = metrics.LOOP_LAG.labels(str(self._start.slot))
        while True:
            due = loop.time() + REPORT_INTERVAL
            await asyncio.sleep(REPORT_INTERVAL)
            lag.set(max(0.0, loop.time() - due))
            self._send_metrics()

    async def _share(self) -> None:
        """Tell what is wanted of the limits of bandwidth, and be told what may be used."""
        last = self._now()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._unshared.wait(), SHARE_INTERVAL)
            self._unshared.clear()
            now = self._now()
            wanted = [
                messages.LimitWanted(key=key, rate=rate, used=used, channels=channels, held=held)
                for key, (rate, (used, channels, held)) in self._throttle.demands(max(now - last, 0.01)).items()
            ]
            last = now
            for at in range(0, len(wanted), _STATUSES):
                self._channel.post(messages.Wanted(limits=tuple(wanted[at : at + _STATUSES])))

    def _send_metrics(self) -> None:
        for session in self._sessions.values():
            session.measure()
        for tunnel in self._tunnels:
            up = sum(link.usable for link in self._links.all() if link.spec.name == tunnel)
            metrics.TUNNEL_LINKS.labels(tunnel).set(up)
        if dropped := self._journal.tell_dropped():
            log.warn("audit.dropped", events=dropped, slot=self._start.slot)
            metrics.AUDIT_DROPPED_TOTAL.labels("supervisor").inc(dropped)
        metrics.QUEUE_DEPTH.labels("supervisor").set(self._channel.queued)
        self._links.measure()
        if not self._channel.queued:
            samples = metrics.samples()
            for at in range(0, len(samples), _SAMPLES):
                self._channel.post(messages.Metrics(samples=samples[at : at + _SAMPLES], more=at > 0))


async def _main(fd: int) -> None:
    channel = ipc.worker_end(socket.socket(fileno=fd))
    try:
        first = await channel.receive()
        if first is None:
            return
        start = first[0]
        if not isinstance(start, messages.Start):
            raise UspError("internal", "the first message is not Start")
        settings = ServerSettings.model_validate_json(start.settings)
        fastpath.switch(settings.server.fast_path)
        unconfined = _confine(settings)
        logs.setup(settings.log, f"usp-server/{start.slot}", rotate=False)
        logs.context(server=start.server)
        hardening.give_up()
        if unconfined:
            log.warn("worker.not_confined", slot=start.slot, reason=unconfined)
        asyncio.get_running_loop().set_exception_handler(_unhandled)
        await Worker(channel, start, settings).run()
    finally:
        channel.close()


def _confine(settings: ServerSettings) -> str:
    """What keeps it from being so, as words. It is tried out: a key may lie where programs or public files do."""
    if not settings.server.sandbox:
        return "server.sandbox is off"
    if why := hardening.confine(settings.log.path, settings.traces.ca, alone=True):
        return why
    key = settings.web.tls.key
    try:
        os.close(os.open(key, os.O_RDONLY))
    except PermissionError:
        return ""
    except OSError as error:
        return f"{key}: {os.strerror(error.errno or 0)}"
    return f"{key} can be opened all the same: keep it in a directory of its own"


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("loop.failed", error_message=context.get("message", ""), exc_info=context.get("exception"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="usp.server.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket to the supervisor")
    fd: int = parser.parse_args().fd
    try:
        tasks.run(_main(fd))
    except UspError as error:
        log.error("worker.failed", exc_info=error)
        return 1
    finally:
        logs.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
