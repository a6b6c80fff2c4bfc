"""Pushes to several servers: starting one, and moving all of them on.

Each manager has a runner, which moves on the rollouts that no other manager holds. A lease (a name and a time in the
rollout's row) tells who holds it; it runs out when that manager is gone, and another one goes on from what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from usp.errors import Problem, UspError
from usp.log import get_logger
from usp.manager.bell import Bell
from usp.manager.catalog import Catalog
from usp.manager.compile import compile as compiled
from usp.manager.pushes import POLL_SECONDS, Pushes
from usp.manager.rollout import Rollout, RolloutState, Seen, Step, StepState, begun, looked
from usp.manager.store import Store
from usp.manager.store.leases import Lease
from usp.manager.store.rows import Role, RunState
from usp.manager.users import Actor
from usp.model import ProxyServer
from usp.snapshot import Content

log = get_logger(__name__)

LEASE: Final = timedelta(seconds=10)
BUSY_SECONDS: Final = 0.1
"""Between looks while a rollout runs."""

Note = Callable[..., Awaitable[None]]


class Rollouts:
    """`note(actor, action, target, **detail)` leaves an event; `bell` wakes the runner."""

    def __init__(self, store: Store, bell: Bell, clock: Callable[[], datetime], note: Note) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._note = note

    async def start(
        self,
        actor: Actor,
        servers: Sequence[str],
        *,
        canary: bool = False,
        patience: float = 60.0,
        comment: str = "",
        force: bool = False,
    ) -> Rollout:
        """Compile the catalog for each of the servers, and push in that order. All are compiled before the first is
        pushed, so that all get the same catalog, and a problem with any of them shows before anything happens."""
        actor.require(Role.ADMIN)
        catalog = await self._store.items.read()
        content = await asyncio.to_thread(_contents, catalog, servers)
        async with self._store.transaction():
            rollout = await self._store.rollouts.add(
                Rollout(
                    author=actor.name,
                    at=self._clock(),
                    comment=comment,
                    catalog_revision=catalog.revision,
                    canary=canary,
                    force=force,
                    patience=patience,
                    steps=tuple(Step(server) for server in content),
                ),
                content,
            )
            await self._note(actor, "rollout", ", ".join(content), rollout=rollout.id, canary=canary)
        self._bell.ring()
        return rollout

    async def settled(self, id: int, timeout: float) -> Rollout:
        """The rollout once it has ended, or as it is after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            rollout = await self._store.rollouts.get(id)
            if rollout.state is not RolloutState.RUNNING or asyncio.get_running_loop().time() >= deadline:
                return rollout
            await self._bell.wait(POLL_SECONDS)


def _contents(catalog: Catalog, servers: Sequence[str]) -> dict[str, Content]:
    """Server -> what it is to get. UspError request.invalid or compile.invalid."""
    found: dict[str, Content] = {}
    problems: list[Problem] = []
    for place, key in enumerate(servers):
        record = catalog.find(ProxyServer.kind, key)
        if record is None or record.item.name in found:
            msg = f"there is no Proxy Server '{key}'" if record is None else f"'{key}' is there twice"
            raise UspError("request.invalid", problems=[Problem(("servers", place), msg)])
        try:
            found[record.item.name] = compiled(catalog, record.item.name)
        except UspError as error:
            found[record.item.name] = Content()
            problems += [Problem(("servers", place, *problem.loc), problem.msg) for problem in error.problems]
    if problems:
        raise UspError("compile.invalid", "not every server's configuration can be compiled", problems=problems)
    return found


class Runner:
    """Moves rollouts on. `name` is this runner's alone."""

    def __init__(
        self, store: Store, pushes: Pushes, bell: Bell, name: str, *, interval: float, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._pushes = pushes
        self._bell = bell
        self._name = name
        self._interval = interval
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            busy = False
            try:
                for id in await self._store.rollouts.open():
                    busy |= await self._round(id)
            except UspError as error:
                log.warning("rollout.store", exc_info=error)
            await self._bell.wait(BUSY_SECONDS if busy else self._interval)

    async def _round(self, id: int) -> bool:
        """One move of the rollout, if it is ours; whether it is."""
        claimed = await self._store.rollouts.claim(id, self._name, LEASE)
        if claimed is None:
            return False
        rollout, lease = claimed
        try:
            await self._move(rollout, lease)
        except UspError as error:  # another manager pushed at this moment, say: it is tried again
            log.warning("rollout.failed", rollout=id, exc_info=error)
        return True

    async def _move(self, rollout: Rollout, lease: Lease) -> None:
        step = rollout.current
        assert step is not None
        if step.state is StepState.WAITING:
            moved = await self._begin(rollout, step)
        else:
            moved = looked(rollout, await self._seen(step), self._clock())
        if moved != rollout and await self._store.rollouts.save(moved, lease):
            place = rollout.place or 0
            log.info("rollout.moved", rollout=rollout.id, server=step.server, step=moved.steps[place].state)

    async def _begin(self, rollout: Rollout, step: Step) -> Rollout:
        content = await self._store.rollouts.content(rollout.id, step.server)
        now = self._clock()
        pushed = await self._pushes.place(
            Actor(rollout.author, Role.ADMIN),
            step.server,
            content,
            catalog_revision=rollout.catalog_revision,
            comment=rollout.comment,
            force=rollout.force,
            rollout=rollout.id,
        )
        return begun(rollout, pushed.version.number, unchanged=pushed.unchanged, now=now)

    async def _seen(self, step: Step) -> Seen:
        found = await self._store.versions.open(step.server, step.version)
        newest = await self._store.versions.latest(step.server)
        server = await self._store.servers.get(step.server)
        run = await self._store.servers.run_states()
        version = found.version
        reasons = [version.reason, *map(str, version.problems)]
        return Seen(
            push=version.push,
            reason="; ".join(filter(None, reasons)),
            newest=newest.number if newest else 0,
            server=server.state,
            why=server.reason,
            report=server.report,
            seen_at=server.seen_at,
            checked_at=server.checked_at,
            snapshot=found.snapshot,
            run_states={id: state is RunState.STARTED for id, state in run.items()},
        )
