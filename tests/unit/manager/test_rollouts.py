"""Pushing to several servers, with runners over the real store. What the pusher notes is noted by hand here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.manager.site import ADMIN, READER, configure, deploy, make, opened, server_item
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Update
from usp.manager.rollout import Rollout, RolloutState
from usp.manager.rollouts import Runner
from usp.manager.store.rows import Version
from usp.status import ListenerState, ListenerStatus, PushState, Report, ServerState, SlotStatus
from usp.tasks import TaskSet

SERVERS = ("one", "two", "three")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as made:
        await configure(made)
        for number, name in enumerate(SERVERS):
            fields = server_item(name, 1)
            await make(made, "proxy-servers", **fields)
            await deploy(made, name, 2222 + number, name)
        yield made


@asynccontextmanager
async def running(app: App, name: str = "runner") -> AsyncIterator[None]:
    runner = Runner(app.store, app.pushes, app.bell, name, interval=0.02, clock=app.clock)
    tasks = TaskSet()
    tasks.spawn(runner.run(), "runner")
    try:
        yield
    finally:
        await tasks.cancel()


async def version_of(app: App, server: str) -> Version:
    async with asyncio.timeout(5):
        while (version := await app.store.versions.latest(server)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return version


async def answer(app: App, server: str, push: PushState, listener: ListenerState = ListenerState.RUNNING) -> None:
    """What a pusher notes when the server has answered."""
    version = await version_of(app, server)
    content = (await app.store.versions.open(server, version.number)).snapshot.content
    listeners = tuple(
        ListenerStatus(id=spec.id, name=spec.name, type=spec.type, address=spec.address, port=spec.port, state=listener)
        for spec in content.listeners
    )
    report = Report(
        server=server,
        software="1",
        boot="b",
        started_at=0.0,
        version=version.number,
        digest=version.digest,
        slots=(SlotStatus(slot=0, pid=1, ready=True, sessions=0, restarts=0),),
        listeners=listeners,
    )
    await app.store.servers.observed(server, ServerState.RUNNING, "", at=app.clock(), report=report)
    await app.store.versions.pushed(server, version.number, push, at=app.clock(), reason="because")


def told(rollout: Rollout) -> list[str]:
    return [step.state.value for step in rollout.steps]


async def test_the_canary_first_then_the_rest(app: App) -> None:
    async with running(app):
        made = await app.rollouts.start(ADMIN, SERVERS, canary=True, comment="all")
        await version_of(app, "one")
        assert await app.store.versions.latest("two") is None
        for server in SERVERS:
            await answer(app, server, PushState.APPLIED)
        done = await app.rollouts.settled(made.id, 5)
    assert (told(done), done.state, done.reason) == (["applied"] * 3, RolloutState.DONE, "")
    version = await version_of(app, "three")
    assert (version.author, version.comment, version.catalog_revision) == ("admin", "all", made.catalog_revision)
    events = await app.store.events.page()
    assert [event.action for event in events[:4]] == ["push", "push", "push", "rollout"]


async def test_a_canary_that_is_not_healthy_stops_it(app: App) -> None:
    async with running(app):
        made = await app.rollouts.start(ADMIN, SERVERS, canary=True, patience=1.0)
        await answer(app, "one", PushState.APPLIED, ListenerState.FAILED)
        done = await app.rollouts.settled(made.id, 5)
    assert (told(done), done.state) == (["late", "skipped", "skipped"], RolloutState.STOPPED)
    assert done.reason == "one is not healthy: 'one' is failed"
    assert await app.store.versions.latest("two") is None


async def test_a_refusal_stops_it(app: App) -> None:
    async with running(app):
        made = await app.rollouts.start(ADMIN, SERVERS)
        await answer(app, "one", PushState.APPLIED)
        await answer(app, "two", PushState.REJECTED)
        done = await app.rollouts.settled(made.id, 5)
    assert (told(done), done.reason) == (["applied", "rejected", "skipped"], "two refused version 1")
    assert done.steps[1].reason == "because"


async def test_all_get_the_catalog_of_the_beginning(app: App) -> None:
    async with running(app):
        made = await app.rollouts.start(ADMIN, ["one", "two"], canary=True)
        await version_of(app, "one")
        await deploy(app, "more", 3000, "two")
        await answer(app, "one", PushState.APPLIED)
        await answer(app, "two", PushState.APPLIED)
        await app.rollouts.settled(made.id, 5)
    content = (await app.store.versions.open("two", 1)).snapshot.content
    assert [listener.name for listener in content.listeners] == ["two"]


async def test_what_a_server_has_already_is_not_pushed_again(app: App) -> None:
    await app.pushes.push(ADMIN, "one")
    await answer(app, "one", PushState.APPLIED)
    async with running(app):
        made = await app.rollouts.start(ADMIN, ["one"])
        done = await app.rollouts.settled(made.id, 5)
        assert (done.steps[0].unchanged, done.steps[0].version) == (True, 1)
        made = await app.rollouts.start(ADMIN, ["one"], force=True)
        async with asyncio.timeout(5):
            while (await version_of(app, "one")).number == 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_another_manager_goes_on(app: App) -> None:
    made = await app.rollouts.start(ADMIN, ["one", "two"])
    assert await app.store.rollouts.claim(made.id, "dead", timedelta(seconds=0.2))
    async with running(app, "alive"), running(app, "other"):
        for server in ("one", "two"):
            await answer(app, server, PushState.APPLIED)
        done = await app.rollouts.settled(made.id, 5)
    assert (done.state, [step.version for step in done.steps]) == (RolloutState.DONE, [1, 1])
    assert len(await app.store.versions.page("one")) == 1


async def test_a_failure_of_one_is_tried_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    place, failures = app.pushes.place, [UspError("catalog.conflict")]

    async def failing(*arguments: object, **named: object) -> object:
        if failures:
            raise failures.pop()
        return await place(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(app.pushes, "place", failing)
    async with running(app):
        made = await app.rollouts.start(ADMIN, ["one"])
        await answer(app, "one", PushState.APPLIED)
        assert (await app.rollouts.settled(made.id, 5)).state is RolloutState.DONE


async def test_what_cannot_be_pushed_is_refused_before_anything_happens(app: App) -> None:
    with pytest.raises(UspError, match="no Proxy Server 'nobody'"):
        await app.rollouts.start(ADMIN, ["one", "nobody"])
    with pytest.raises(UspError, match="'one' is there twice"):
        await app.rollouts.start(ADMIN, ["one", "one"])
    await app.write(ADMIN, [Update("proxy-servers", "two", {**server_item("two", 1), "enabled": False})])
    with pytest.raises(UspError) as caught:
        await app.rollouts.start(ADMIN, ["one", "two"])
    assert caught.value.code == "compile.invalid"
    assert caught.value.problems[0].loc == ("servers", 1, "proxy-servers", "two", "enabled")
    with pytest.raises(UspError, match="may read but not change"):
        await app.rollouts.start(READER, ["one"])
    assert await app.store.rollouts.page() == []
    assert [await app.store.versions.latest(server) for server in SERVERS] == [None] * 3
