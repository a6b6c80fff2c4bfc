"""Pushing, going back, and what differs, over the real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.site import ADMIN, PRIVATE, READER, configure, deploy, opened
from usp.errors import Problem, UspError
from usp.manager.app import App
from usp.manager.catalog import Delete, Update
from usp.manager.diff import Due
from usp.manager.pushes import POLL_SECONDS
from usp.manager.store.rows import RunState, Version
from usp.status import PushState, Report, ServerState


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as made:
        await configure(made)
        await deploy(made, "l", 2222)
        yield made


async def actions(app: App) -> list[tuple[str, str]]:
    return [(event.action, event.target) for event in await app.store.events.page(action="push")]


async def applied(app: App, version: Version) -> None:
    """As the pusher notes it."""
    report = Report(
        server="server", software="1", boot="b", started_at=0.0, version=version.number, digest=version.digest
    )
    await app.store.versions.pushed("server", version.number, PushState.APPLIED, at=app.clock())
    await app.store.servers.observed("server", ServerState.RUNNING, "", at=app.clock(), report=report)


async def test_a_push_is_the_next_version_and_rings(app: App) -> None:
    bell = asyncio.gather(app.bell.wait(5))
    await asyncio.sleep(0)
    version = (await app.pushes.push(ADMIN, "server", "first")).version
    assert all(await bell)
    assert (version.number, version.author, version.comment, version.push) == (1, "admin", "first", PushState.PENDING)
    assert (await app.pushes.push(ADMIN, (await app.server_record("server")).id)).version.number == 2
    assert [server.desired for server in await app.servers()] == [2]
    assert await actions(app) == [("push", "server")] * 2
    pushable = await app.store.versions.open("server", 1)
    assert pushable.snapshot.content.listeners[0].nodes[0].host_keys[0] == PRIVATE
    with pytest.raises(UspError, match="no Proxy Server 'nobody'"):
        await app.pushes.push(ADMIN, "nobody")


async def test_awaiting_a_push(app: App) -> None:
    version = (await app.pushes.push(ADMIN, "server")).version
    assert (await app.pushes.settled("server", 1, 0)).push is PushState.PENDING
    problems: Sequence[Problem] = [Problem(("listeners", 0), "no")]

    async def settle() -> None:
        for push in (PushState.PUSHING, PushState.UNREACHABLE, PushState.REJECTED):
            await asyncio.sleep(POLL_SECONDS)
            await app.store.versions.pushed("server", 1, push, at=app.clock(), reason="why", problems=problems)

    found, _ = await asyncio.gather(app.pushes.settled("server", version.number, 5), settle())
    assert (found.push, found.reason, list(found.problems)) == (PushState.REJECTED, "why", problems)
    with pytest.raises(UspError):
        await app.pushes.settled("server", 99, 5)


async def test_what_is_in_force_already_makes_no_version(app: App) -> None:
    first = (await app.pushes.push(ADMIN, "server")).version
    await applied(app, first)
    again = await app.pushes.push(ADMIN, "server")
    assert (again.unchanged, again.version.number) == (True, 1)
    assert len(await actions(app)) == 1
    forced = await app.pushes.push(ADMIN, "server", force=True)
    assert (forced.unchanged, forced.version.number) == (False, 2)
    assert not (await app.pushes.push(ADMIN, "server")).unchanged, "version 2 is wanted, and not in force yet"


async def test_what_counts_as_in_force(app: App) -> None:
    assert await app.pushes.active("server") is None
    first = (await app.pushes.push(ADMIN, "server")).version
    await app.store.versions.pushed("server", 1, PushState.APPLIED, at=app.clock())
    assert (await app.pushes.active("server")) == await app.store.versions.get("server", 1)

    async def reported(number: int, digest: str) -> Version | None:
        report = Report(server="server", software="1", boot="b", started_at=0.0, version=number, digest=digest)
        await app.store.servers.observed("server", ServerState.RUNNING, "", at=app.clock(), report=report)
        return await app.pushes.active("server")

    restarted = await reported(0, "")
    assert restarted
    assert restarted.number == 1
    assert await reported(1, "another content") is None
    assert not (await app.pushes.push(ADMIN, "server")).unchanged
    assert await reported(7, first.digest) is None, "a version that this database does not have"


async def test_going_back(app: App) -> None:
    first = (await app.pushes.push(ADMIN, "server")).version
    await applied(app, first)
    await app.write(ADMIN, [Delete("deployments", "l"), Delete("listeners", "l")])
    second = (await app.pushes.push(ADMIN, "server")).version
    await applied(app, second)
    assert second.digest != first.digest
    server = (await app.server_record("server")).item.model_dump(mode="json")
    await app.write(ADMIN, [Update("proxy-servers", "server", {**server, "enabled": False})])
    with pytest.raises(UspError) as caught:
        await app.pushes.push(ADMIN, "server")
    assert caught.value.code == "compile.invalid"
    third = (await app.pushes.rollback(ADMIN, "server", 1)).version
    assert (third.number, third.digest, third.comment) == (3, first.digest, "rollback to version 1")
    assert third.catalog_revision == first.catalog_revision
    opened = await app.store.versions.open("server", 3)
    assert opened.snapshot.content == (await app.store.versions.open("server", 1)).snapshot.content
    await applied(app, third)
    assert (await app.pushes.rollback(ADMIN, "server", 1)).unchanged
    assert (await app.pushes.rollback(ADMIN, "server", 3, "again", force=True)).version.comment == "again"
    with pytest.raises(UspError, match="no configuration version 9"):
        await app.pushes.rollback(ADMIN, "server", 9)
    with pytest.raises(UspError, match="may read but not change"):
        await app.pushes.rollback(READER, "server", 1)


async def test_what_a_push_would_change(app: App) -> None:
    found = await app.pushes.compare("server")
    assert (found.before.number, found.after.number, found.newest) == (0, None, 0)
    assert "Listener 'l' added" in [str(difference) for difference in found.differences]
    assert found.effects.sentences[0] == "Opens 127.0.0.1:2222 for Listener 'l'."
    version = (await app.pushes.push(ADMIN, "server")).version
    assert (await app.pushes.compare("server")).before.number == 0, "it is not in force yet"
    await applied(app, version)
    found = await app.pushes.compare("server")
    assert (found.before.number, found.before.digest, found.newest) == (1, found.after.digest, 1)
    assert found.differences == ()
    deployment = (await app.catalog()).get("deployments", "l").id
    await app.store.servers.set_run_state(deployment, RunState.STOPPED, author="a", at=app.clock())
    found = await app.pushes.compare("server")
    assert "Listener 'l' does not listen: an administrator stopped it." in found.effects.sentences


async def test_two_versions_are_compared(app: App) -> None:
    await app.pushes.push(ADMIN, "server")
    await app.write(ADMIN, [Delete("deployments", "l"), Delete("listeners", "l")])
    await app.pushes.push(ADMIN, "server")
    found = await app.pushes.compare("server", 1, 2)
    assert (found.before.number, found.after.number) == (1, 2)
    assert str(found.differences[0]) == "Listener 'l' removed"
    assert str((await app.pushes.compare("server", 2, 1)).differences[0]) == "Listener 'l' added"
    version, content = await app.pushes.content("server", 1)
    assert (version.number, content.listeners[0].name) == (1, "l")


async def test_what_is_due(app: App) -> None:
    async def due() -> Due:
        return await app.pushes.due(await app.catalog(), await app.server("server"))

    assert await due() == Due(True), "nothing was ever pushed"
    await app.pushes.push(ADMIN, "server")
    assert await due() == Due(False)
    await deploy(app, "m", 2223)
    assert await due() == Due(True)
    await app.pushes.push(ADMIN, "server")
    assert await due() == Due(False)
    ip_filter = (await app.catalog()).get("ip-filters", "all")
    await app.write(ADMIN, [Update("ip-filters", ip_filter.id, {"name": "all", "enabled": False})])
    found = await due()
    assert found.changed
    assert "disabled" in found.problem


async def test_a_push_that_lost_a_race_is_made_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    add, lost = app.store.versions.add, 0

    async def losing(*args: Any, **kwargs: Any) -> Version:
        nonlocal lost
        lost += 1
        if lost % 3:
            raise UspError("catalog.conflict")
        return await add(*args, **kwargs)

    monkeypatch.setattr(app.store.versions, "add", losing)
    assert (await app.pushes.push(ADMIN, "server")).version.number == 1
    assert await actions(app) == [("push", "server")], "told once"

    async def always(*_: Any, **__: Any) -> Version:
        raise UspError("catalog.conflict")

    monkeypatch.setattr(app.store.versions, "add", always)
    with pytest.raises(UspError, match="same moment"):
        await app.pushes.push(ADMIN, "server")
