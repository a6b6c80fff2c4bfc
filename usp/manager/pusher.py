"""The pusher: looks at every server again and again, and does the one next step that `reconcile.decide` names.

One task per Proxy Server, so that a slow server delays no other. A round is: ask the server how it is, note that in the
store, decide, act, note what came of it. Whatever is lost or interrupted on the way is seen again in the next round.
Several managers may do this at once: servers refuse older versions and answer "already" to the one they have. To save
work, only the manager that holds a server's lease does it (usp.manager.holdings), and whoever is rung for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from usp import backoff, plan
from usp.errors import Problem, UspError
from usp.log import get_logger
from usp.manager.bell import ANY, Bell
from usp.manager.catalog import Catalog
from usp.manager.control import Controls, Endpoint
from usp.manager.holdings import Holdings, holder
from usp.manager.reconcile import Action, Decision, Desired, Unreachable, decide
from usp.manager.store import Store
from usp.manager.store.rows import Event, RunState, Version
from usp.metrics import PUSH_SECONDS, PUSH_TOTAL, SERVER_STATE, SERVER_UP
from usp.model import ProxyServer, Record
from usp.settings import PushSettings
from usp.snapshot import PROTOCOL, Snapshot
from usp.status import Ack, AckResult, PushState, Report, ServerState
from usp.tasks import TaskSet

log = get_logger(__name__)

REFUSED_MAXIMUM = 30.0
"""Seconds between pushes to a restarted server that refuses what it once accepted, at most."""

RETRY_MAXIMUM = 1.0
"""Seconds between looks at a server that does not answer, at most: one that restarts has lost its configuration."""

UNANSWERED = 2
"""Looks for which a server may leave questions unanswered until it is told to be unreachable: another manager, which
gets an answer, has time to say so."""

MANAGER = "usp-manager"
"""The author of what is done without being asked at that moment."""

DRAINS = 2
"""The protocol from which on servers can be drained."""

OFFERED = (PushState.APPLIED, PushState.PUSHING, PushState.UNREACHABLE)
"""What a server may have accepted, whether its answer was heard or not."""

STEPS = 8
"""Actions of one round at the most: a push, then starts and stops."""


@dataclass
class _Watch:
    """What one server's task remembers between rounds; nothing depends on it."""

    failures: int = 0  # questions in a row that got no answer,
    since: float = 0.0  # and when the first of them was asked, by the loop's clock
    refused: int = 0  # the version that was refused last,
    refusals: int = 0  # how often in a row,
    not_before: float = 0.0  # and when to try it again, by the loop's clock
    said: str = ""


class Pusher:
    def __init__(
        self,
        store: Store,
        controls: Controls,
        bell: Bell,
        settings: PushSettings,
        *,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        name: str = "",
    ) -> None:
        self._store = store
        self._controls = controls
        self._bell = bell
        self._settings = settings
        self._clock = clock
        self._random = random
        self._id = holder(name, random())
        self.holdings = Holdings(store, self._id, settings.interval)
        self._tasks = TaskSet()
        self._watched: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled: one task for each enabled Proxy Server of the catalog, as it is now."""
        self._tasks.spawn(self.holdings.run(), "leases")
        try:
            while True:
                try:
                    catalog = await self._store.items.read()
                except UspError as error:
                    log.error("pusher.store", exc_info=error)
                else:
                    await self._follow(catalog)
                await self._bell.wait(self._settings.interval)
        finally:
            await self._tasks.cancel()

    async def _follow(self, catalog: Catalog) -> None:
        records = [record for record in catalog.of_kind(ProxyServer.kind) if record.item.enabled]
        before, self.holdings.servers = self.holdings.servers, frozenset(record.item.name for record in records)
        for name in before - self.holdings.servers:
            _forget(name)
        wanted = {record.id for record in records}
        self._watched = {id: task for id, task in self._watched.items() if not task.done()}
        for id in sorted(self._watched.keys() - wanted):
            self._watched.pop(id).cancel()
        for id in sorted(wanted - self._watched.keys()):
            self._watched[id] = self._tasks.spawn(self._watch(id), f"push {id}")

    async def _watch(self, id: str) -> None:
        """A round when it is this manager's turn, or when something was ordered here: that is not put off."""
        watch, name, rung = _Watch(), ANY, True
        while True:
            delay = self._settings.interval
            if rung or self.holdings.is_due(name):
                try:
                    catalog = await self._store.items.read()
                    record = catalog.records.get(id)
                    if record is not None:
                        name = record.item.name
                        delay = max(delay, await self._round(catalog, record, watch))
                except UspError as error:  # the store: it is away, or another manager was faster
                    self._say(watch, id, f"{error.code}: {error.message}")
            else:
                delay, watch.failures = self.holdings.pause, 0
                _forget(name)  # another manager looks at it
            rung = await self._bell.wait(delay, name)

    async def _round(self, catalog: Catalog, record: Record, watch: _Watch) -> float:
        """Look and act until there is nothing more to do at once; the seconds to wait, if longer than usual."""
        for _ in range(STEPS):
            decision, report = await self._look(catalog, record, watch)
            if not await self._act(catalog, record, watch, decision, report):
                return decision.delay
        return 0.0

    async def _look(
        self, catalog: Catalog, record: Record, watch: _Watch, push: tuple[int, PushState] | None = None
    ) -> tuple[Decision, Report | None]:
        """Ask the server how it is, and note that. `push`: what the store is about to learn of a version."""
        name, now = record.item.name, asyncio.get_running_loop().time
        asked = now()
        observed = await self._observe(catalog, record)
        watch.failures = watch.failures + 1 if isinstance(observed, Unreachable) else 0
        watch.since = watch.since if watch.failures > 1 else asked
        report = observed if isinstance(observed, Report) else None
        desired = await self._desired(record, report)
        if push is not None and push[0] == desired.version:
            desired = replace(desired, push=push[1], unrecorded=False)
        decision = decide(desired, observed, retry_in=self._retry_in(watch))
        _measure(name, decision.state, up=report is not None)
        if watch.failures:
            await self.holdings.let_go(name)
        if not watch.failures or now() - watch.since >= UNANSWERED * self._settings.interval:
            await self._store.servers.observed(
                name, decision.state, decision.reason, at=self._clock(), report=report, by=self._id
            )
        self._say(watch, name, decision.reason)
        return decision, report

    def _retry_in(self, watch: _Watch) -> float:
        if not watch.failures:
            return 0.0
        return backoff.delay(watch.failures - 1, self._random(), self._settings.interval, RETRY_MAXIMUM)

    async def _observe(self, catalog: Catalog, record: Record) -> Report | Unreachable:
        try:
            return await self._controls.status(Endpoint.of(catalog, record))
        except UspError as error:
            return Unreachable(error.message)

    async def _desired(self, record: Record, report: Report | None) -> Desired:
        name, states = record.item.name, await self._store.servers.run_states()
        run = {id: state is RunState.STARTED for id, state in states.items()}
        drained = states.get(record.id) is RunState.DRAINED
        newest = await self._store.versions.latest(name)
        if newest is None:
            return Desired(run=run, drained=drained)
        refused = newest.push is PushState.REJECTED
        applied = await self._store.versions.latest(name, PushState.APPLIED) if refused else None
        offered = await self._store.versions.latest(name, *OFFERED) if refused else None
        return Desired(
            version=newest.number,
            digest=newest.digest,
            push=newest.push,
            applied=applied.number if applied else 0,
            offered=offered.number if offered else 0,
            run=run,
            drained=drained,
            unrecorded=report is not None and await self._is_unrecorded(report, newest, applied),
        )

    async def _is_unrecorded(self, report: Report, *known: Version | None) -> bool:
        """Whether the server runs one of our versions that nobody has noted as applied."""
        found = next((version for version in known if version and version.number == report.version), None)
        if found is None:
            return await self._is_ours(report.server, report.version, report.digest)
        return found.digest == report.digest and found.push is not PushState.APPLIED

    async def _is_ours(self, server: str, number: int, digest: str) -> bool:
        """Whether that is a version of ours that is not noted as applied."""
        found = await self._store.versions.find(server, number) if number else None
        return found is not None and found.digest == digest and found.push is not PushState.APPLIED

    async def _act(
        self, catalog: Catalog, record: Record, watch: _Watch, decision: Decision, report: Report | None
    ) -> bool:
        """Whether something was done that is worth another look at once."""
        match decision.action:
            case Action.PUSH:
                assert report is not None
                if decision.version == watch.refused and asyncio.get_running_loop().time() < watch.not_before:
                    return False
                return await self._push(catalog, record, watch, decision, report)
            case Action.RECORD:
                await self._pushed(record.item.name, decision.version, PushState.APPLIED)
                return True
            case Action.START | Action.STOP:
                return await self._run_states(Endpoint.of(catalog, record), decision)
            case Action.DRAIN | Action.UNDRAIN:
                return await self._drain(Endpoint.of(catalog, record), drained=decision.action is Action.DRAIN)
            case Action.WAIT | Action.NONE:
                return False

    async def _push(self, catalog: Catalog, record: Record, watch: _Watch, decision: Decision, report: Report) -> bool:
        """`report` led to it: a server that has restarted since is looked at again first."""
        name, number = record.item.name, decision.version
        snapshot = await self._snapshot(catalog, name, decision)
        run = await self._store.servers.run_states()
        stopped = tuple(spec.id for _, spec in plan.specs(snapshot) if run.get(spec.id) is RunState.STOPPED)
        protocol = min(PROTOCOL, report.protocol)
        drained = protocol >= DRAINS and run.get(record.id) is RunState.DRAINED
        snapshot = snapshot.model_copy(update={"protocol": protocol, "stopped": stopped, "drained": drained})
        await self._store.versions.pushed(name, number, PushState.PUSHING, at=self._clock())
        try:
            with PUSH_SECONDS.time():
                ack = await self._controls.put(Endpoint.of(catalog, record), snapshot, report.boot)
        except UspError as error:
            PUSH_TOTAL.labels(PushState.UNREACHABLE).inc()
            await self._store.versions.pushed(
                name, number, PushState.UNREACHABLE, at=self._clock(), reason=error.message
            )
            return False
        refused = ack.result is AckResult.REJECTED
        state = PushState.REJECTED if refused else PushState.APPLIED
        self._count_refusal(watch, number if refused else 0)
        # First how the server is now: who waits for the push and then looks shall not see the time before it.
        await self._look(catalog, record, watch, (number, state))
        if refused and await self._is_ours(name, ack.version, ack.digest):
            await self._pushed(name, ack.version, PushState.APPLIED)
        await self._pushed(name, number, state, ack)
        return not refused

    async def _snapshot(self, catalog: Catalog, name: str, decision: Decision) -> Snapshot:
        """The version as it is stored. What was compiled here a moment ago is not opened: the digest tells that it is
        the same."""
        number, compiled = decision.version, catalog.contents.get(name)
        if compiled is not None and compiled.digest == decision.digest:
            return Snapshot(protocol=PROTOCOL, server=name, version=number, digest=decision.digest, content=compiled)
        return (await self._store.versions.open(name, number)).snapshot

    def _count_refusal(self, watch: _Watch, version: int) -> None:
        """0: it was accepted."""
        watch.refusals = watch.refusals + 1 if version and version == watch.refused else 0
        watch.refused = version
        delay = backoff.delay(watch.refusals, self._random(), self._settings.interval, REFUSED_MAXIMUM)
        watch.not_before = asyncio.get_running_loop().time() + delay

    async def _pushed(self, name: str, number: int, state: PushState, ack: Ack | None = None) -> None:
        """Write down what became of a version, and tell it once, whichever manager sees it first."""
        news = await self._store.versions.pushed(
            name,
            number,
            state,
            at=self._clock(),
            reason=f"{ack.code}: {ack.message}" if ack and ack.code else "",
            problems=[Problem(complaint.loc, complaint.msg) for complaint in ack.problems] if ack else (),
        )
        self._bell.ring(name)
        if not news:
            return
        PUSH_TOTAL.labels(state).inc()
        event = Event(self._clock(), MANAGER, f"push.{state}", name, detail={"version": number})
        await self._store.events.add(event)
        level = log.warning if state is PushState.REJECTED else log.info
        why = {"result": ack.result, "code": ack.code, "reason": ack.message} if ack else {}
        level("push.done", server=name, version=number, **why)

    async def _run_states(self, endpoint: Endpoint, decision: Decision) -> bool:
        """Whether the server did all of it."""
        done = True
        for target in decision.targets:
            try:
                done &= await self._controls.run(
                    endpoint, target.path, target.id, start=decision.action is Action.START
                )
            except UspError as error:
                log.warning("run.failed", server=endpoint.name, target=target.name, code=error.code)
                return False
        return done

    async def _drain(self, endpoint: Endpoint, *, drained: bool) -> bool:
        try:
            return await self._controls.drain(endpoint, drained=drained)
        except UspError as error:
            log.warning("drain.failed", server=endpoint.name, code=error.code)
            return False

    def _say(self, watch: _Watch, server: str, reason: str) -> None:
        """Each decision's reason, once."""
        if reason != watch.said:
            watch.said = reason
            log.info("server.decision", server=server, reason=reason)


def _measure(server: str, found: ServerState, *, up: bool) -> None:
    SERVER_UP.labels(server).set(up)
    for state in ServerState:
        SERVER_STATE.labels(server, state).set(state is found)


def _forget(server: str) -> None:
    """It is no Proxy Server any more, or has another name."""
    for state in ServerState:
        with suppress(KeyError):
            SERVER_STATE.remove(server, state)
    with suppress(KeyError):
        SERVER_UP.remove(server)
