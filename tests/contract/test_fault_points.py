"""A manager dies at each step of a push, before or after the step is done; another goes on: one version results.

A step is a call of the store or of the server. The server is a real one (usp-server's control API and supervisor), the
store is each engine's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.contract.conftest import OpenStore
from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, Clock, configure, deploy, settings
from tests.unit.server.support import free_port, greeting
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Update
from usp.manager.control import Controls
from usp.manager.pusher import Pusher
from usp.manager.store import Store
from usp.status import PushState
from usp.tasks import TaskSet

STEPS = (
    *(("read", nth) for nth in (1, 2)),
    *(("status", nth) for nth in (1, 2)),  # before the push, and right after it
    *(("run_states", nth) for nth in (1, 2, 3)),
    *(("latest", nth) for nth in (1, 2)),
    *(("observed", nth) for nth in (1, 2)),
    *(("pushed", nth) for nth in (1, 2)),  # pushing, and what became of it
    ("put", 1),
    ("add", 1),  # the event
)
"""The steps of a push, by name, and which of that name."""


class Fate:
    """When a manager dies: at that step, once it is done or before. None: never."""

    def __init__(self, at: tuple[str, int] | None = None, *, done: bool = False) -> None:
        self.at = at
        self.done = done
        self.steps: Counter[str] = Counter()
        self.dead = asyncio.Event()

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.dead.is_set():
            raise UspError("database.unavailable", "the manager is dead")
        self.steps[name] += 1
        due = (name, self.steps[name]) == self.at
        if due and not self.done:
            await self._die()
        found = await call()
        if due:
            await self._die()
        return found

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


class Mortal:
    """The store, a part of it, or the controls, in the hands of a manager that may die."""

    PARTS = ("items", "versions", "servers", "events", "leases")

    def __init__(self, real: Any, fate: Fate) -> None:
        self._real = real
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name in self.PARTS:
            return Mortal(found, self._fate)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._fate.step(name, lambda: found(*args, **kwargs))

        return call


@asynccontextmanager
async def pushing(app: App, fate: Fate) -> AsyncIterator[None]:
    store, controls = cast(Store, Mortal(app.store, fate)), cast(Controls, Mortal(app.controls, fate))
    pusher = Pusher(store, controls, app.bell, app.settings.push, clock=app.clock, random=random.random)
    tasks = TaskSet()
    tasks.spawn(pusher.run(), "pusher")
    try:
        yield
    finally:
        await tasks.cancel()


@asynccontextmanager
async def manager(opened: OpenStore) -> AsyncIterator[App]:
    app = App(await opened(), settings(interval=0.02), Clock())
    try:
        yield app
    finally:
        await app.close()


async def pushed(app: App, number: int) -> None:
    """A new version is wanted, with a content of its own."""
    node = (await app.catalog()).get("inbound-nodes", "in")
    await app.write(
        ADMIN, [Update("inbound-nodes", "in", {**node.item.model_dump(mode="json"), "banner": f"{number}"})]
    )
    assert (await app.pushes.push(ADMIN, "server")).version.number == number


async def applied_events(app: App, number: int) -> int:
    page = await app.store.events.page(limit=1000)
    return sum(event.action == "push.applied" and event.detail["version"] == number for event in page)


# SQLite has one manager, so nobody goes on there. Not on the Oracle Net test server, where each takes minutes: what the
# store does there, the other files tell.
@pytest.mark.parametrize("engine", ["postgresql", "oracle"], indirect=True)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_another_manager_goes_on(opened: OpenStore, tmp_path: Path, done: bool) -> None:
    management, port = free_port(), free_port()
    async with (
        server(management, files(tmp_path / "tls")) as there,
        manager(opened) as first,
        manager(opened) as second,
    ):
        await configure(first, management)
        await deploy(first, "l", port)
        longest = 0.0
        for number, step in enumerate(STEPS, start=1):
            await pushed(first, number)
            fate = Fate(step, done=done)
            async with pushing(first, fate):
                await asyncio.wait_for(fate.dead.wait(), 5)
            began = time.monotonic()
            async with pushing(second, Fate()):
                version = await second.pushes.settled("server", number, 5.0)
            longest = max(longest, time.monotonic() - began)
            assert version.push is PushState.APPLIED, f"died at {step}"
            report = there.report()
            assert (report.version, report.digest) == (number, version.digest)
            assert [row.number for row in await second.store.versions.page("server")] == [*range(number, 0, -1)]
            assert (await greeting(port)).split()[1] == str(number).encode()
            assert await applied_events(second, number) <= 1, "it is told once"
    print(
        f"manager dead {'after' if done else 'before'} each of {len(STEPS)} steps of a push: another one brings the "
        f"version into force, in {longest:.1f} s at most"
    )
