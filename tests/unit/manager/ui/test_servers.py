"""One server: versions, what a push would do, pushing, and going back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.manager.site import ADMIN, configure, deploy
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.errors import Problem
from usp.manager.app import App
from usp.manager.catalog import Update
from usp.manager.ui import servers
from usp.status import PushState, Report, ServerState


@pytest.fixture
async def configured(app: App) -> App:
    await configure(app)
    await deploy(app, "l", 2222)
    return app


@asynccontextmanager
async def answering(app: App, state: PushState) -> AsyncIterator[None]:
    """As the pusher does, for the newest version that is made meanwhile."""
    before = await app.store.versions.latest("server")

    async def answer() -> None:
        newest = None
        while newest is None or newest == before:
            newest = await app.store.versions.latest("server")
            await asyncio.sleep(0.01)
        refused = state is PushState.REJECTED
        problems = [Problem(("listeners", 0), "the address is in use")] if refused else []
        await app.store.versions.pushed(
            "server", newest.number, state, at=app.clock(), reason="refused" if refused else "", problems=problems
        )
        if not refused:
            report = Report(
                server="server", software="1", boot="b", started_at=0.0, version=newest.number, digest=newest.digest
            )
            await app.store.servers.observed("server", ServerState.RUNNING, "", at=app.clock(), report=report)

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        yield


async def test_nothing_was_pushed_yet(configured: App, reader: Browser) -> None:
    page = await reader.get("/ui/servers/server")
    assert "Nothing was pushed yet" in text_of(page)
    assert '/push"' not in page.text, "a reader cannot push"
    assert (await reader.get("/ui/servers/server/push")).status_code == 403
    assert (await reader.get("/ui/servers/nothing")).status_code == 404


async def test_a_push_with_its_preview(configured: App, admin: Browser) -> None:
    page = text_of(await admin.get("/ui/servers/server/push"))
    assert "added Listener l" in page
    assert "Opens 127.0.0.1:2222 for Listener" in page
    async with answering(configured, PushState.APPLIED):
        response = await admin.post("/ui/servers/server/push", comment=" first ")
    assert response.headers["location"] == "/ui/servers/server"
    page = text_of(await admin.get("/ui/servers/server"))
    assert "Version 1 is in force on server." in page
    assert "applied" in page
    assert "first" in page
    version = await configured.store.versions.get("server", 1)
    assert (version.author, version.comment) == ("alice", "first")
    page = text_of(await admin.get("/ui/servers/server/push"))
    assert "A push would bring nothing new." in page
    await admin.post("/ui/servers/server/push")
    assert "nothing was pushed" in text_of(await admin.get("/ui/servers/server"))
    async with answering(configured, PushState.APPLIED):
        await admin.post("/ui/servers/server/push", force="on")
    assert (await configured.store.versions.latest("server")).number == 2  # type: ignore[union-attr]


async def test_a_refusal_says_why(configured: App, admin: Browser) -> None:
    async with answering(configured, PushState.REJECTED):
        page = await admin.post("/ui/servers/server/push")
    assert page.status_code == 409
    assert "the address is in use" in text_of(page)
    page = await admin.get("/ui/servers/server/versions/1")
    assert "the address is in use" in text_of(page)


async def test_a_server_that_does_not_answer(configured: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SETTLE_SECONDS", 0.0)
    await admin.post("/ui/servers/server/push")
    assert "server gets it as soon as it answers." in text_of(await admin.get("/ui/servers/server"))


async def test_what_cannot_be_made_is_told(configured: App, admin: Browser) -> None:
    await configured.write(ADMIN, [Update("ip-filters", "all", {"name": "all", "enabled": False})])
    page = await admin.get("/ui/servers/server/push")
    assert page.status_code == 200
    assert "disabled" in text_of(page)
    assert 'action="/ui/servers/server/push"' not in page.text


async def test_going_back(configured: App, admin: Browser) -> None:
    async with answering(configured, PushState.APPLIED):
        await admin.post("/ui/servers/server/push")
    await deploy(configured, "m", 2223)
    async with answering(configured, PushState.APPLIED):
        await admin.post("/ui/servers/server/push")
    page = text_of(await admin.get("/ui/servers/server/versions/1"))
    assert "removed Listener m" in page
    assert "Closes 127.0.0.1:2223" in page
    assert "This version is in force." in text_of(await admin.get("/ui/servers/server/versions/2"))
    assert "added Listener m" in text_of(await admin.get("/ui/servers/server/versions/2?to=1"))
    async with answering(configured, PushState.APPLIED):
        response = await admin.post("/ui/servers/server/rollback", version="1")
    assert response.status_code == 303
    third = await configured.store.versions.get("server", 3)
    assert third.digest == (await configured.store.versions.get("server", 1)).digest
    assert (await admin.post("/ui/servers/server/rollback", version="9")).status_code == 404


async def test_pages_of_versions(configured: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PAGE", 1)
    for _ in range(2):
        await configured.pushes.push(ADMIN, "server", force=True)
    page = await admin.get("/ui/servers/server")
    assert "/ui/servers/server?before=2" in page.text
    page = await admin.get("/ui/servers/server?before=2")
    assert "versions/1" in page.text
    assert "before=" not in page.text
