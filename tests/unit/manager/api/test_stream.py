"""Events as they happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.unit.manager.api.calls import Api, refused
from tests.unit.manager.site import ADMIN
from usp.errors import UspError
from usp.manager.api import stream
from usp.manager.app import App


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)


async def told(app: App, last: int = 0, action: str = "", token: str = "t") -> AsyncGenerator[str, None]:
    async for text in stream._told(app, token, "192.0.2.7", last, {"action": action}):
        yield text


@pytest.fixture
def trusting(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def authenticate(token: str, peer: str) -> None: ...

    monkeypatch.setattr(app.logins, "authenticate", authenticate)


@pytest.mark.usefixtures("trusting")
async def test_what_happens_is_told_in_order(app: App) -> None:
    for target in ("a", "b"):
        await app.note(ADMIN, "item.create", target)
    reader = told(app)
    assert await anext(reader) == ": after 0\n\n"
    found = [await anext(reader) for _ in range(2)]
    await app.note(ADMIN, "item.update", "c", revision=7)
    found.append(await anext(reader))
    targets = []
    for number, text in enumerate(found, 1):
        id, event, data, *end = text.split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert (id, event, end) == (f"id: {number}", f"event: {document['action']}", ["", ""])
        assert document["number"] == number
        targets.append(document["target"])
    assert targets == ["a", "b", "c"]
    await reader.aclose()


@pytest.mark.usefixtures("trusting")
async def test_many_at_once_and_only_some(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BATCH", 3)
    for number in range(10):
        await app.note(ADMIN, "even" if number % 2 == 0 else "odd.one", str(number))
    reader = told(app, last=4, action="odd")
    found = [await anext(reader) for _ in range(4)]
    assert [text.split("\n")[0] for text in found] == [": after 4", "id: 6", "id: 8", "id: 10"]
    await reader.aclose()


@pytest.mark.usefixtures("trusting")
async def test_a_quiet_stream_lives(app: App) -> None:
    reader = told(app)
    assert [await anext(reader) for _ in range(3)] == [": after 0\n\n"] * 3
    await reader.aclose()


async def test_it_ends_with_the_token(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def authenticate(token: str, peer: str) -> None:
        assert (token, peer) == ("t", "192.0.2.7")
        raise UspError("auth.invalid")

    monkeypatch.setattr(app.logins, "authenticate", authenticate)
    assert [text async for text in told(app)] == [": after 0\n\n"]


async def test_it_ends_with_the_manager(app: App) -> None:
    reader = told(app)
    await anext(reader)
    asyncio.get_running_loop().call_later(0.02, app.ending.set)
    async with asyncio.timeout(1.0):
        assert [text async for text in reader] == []


async def streamed(admin: Api, **headers: str) -> str:
    """What a stream answers that the manager ends at once. (httpx's ASGI transport only shows whole answers.)"""
    answer = await admin("GET", "/events/stream", headers=headers)
    assert isinstance(answer, httpx.Response)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


async def test_where_it_begins(app: App, admin: Api) -> None:
    app.ending.set()
    newest = (await app.store.events.page(limit=1))[0].number
    assert await streamed(admin) == f": after {newest}\n\n"
    assert await streamed(admin, **{"Last-Event-ID": "1"}) == ": after 1\n\n"


async def test_garbage(admin: Api, nobody: Api) -> None:
    for number in ("x", "-1", str(2**63)):
        problems = refused(
            await admin("GET", "/events/stream", headers={"Last-Event-ID": number}), 422, "request.invalid"
        )
        assert [loc for loc, _ in problems] == [("header", "last-event-id")]
    refused(await admin("GET", "/events/stream", params={"acton": "login."}), 422, "request.invalid")
    refused(await nobody("GET", "/events/stream"), 401, "auth.invalid")
