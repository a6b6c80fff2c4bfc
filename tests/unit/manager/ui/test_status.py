"""The Status page, its stream, and what can be done there."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.site import ADMIN, configure, make, server_item
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.store.rows import Role, RunState
from usp.manager.ui import status
from usp.manager.ui.board import Board
from usp.manager.ui.visits import Visit, Visitors
from usp.manager.users import Actor
from usp.status import ServerState


async def test_nothing_is_there_yet(admin: Browser) -> None:
    assert "There are no Proxy Servers yet" in text_of(await admin.get("/ui/status"))


async def test_a_reader_sees_no_button_that_would_fail(app: App, reader: Browser) -> None:
    await configure(app)
    page = await reader.get("/ui/status")
    assert "server" in text_of(page)
    assert re.findall(r'action="([^"]*)"', page.text) == ["/ui/logout"]


async def many(app: App, number: int) -> list[str]:
    """Configures so many servers more; the ids of all."""
    await configure(app)
    await app.write(ADMIN, [Create("proxy-servers", server_item(f"dmz-{each}", 8444)) for each in range(number)])
    return [record.id for record in (await app.catalog()).of_kind("proxy-servers")]


def open_rows(page: httpx.Response) -> int:
    assert page.text.count("<details open>") == page.text.count('class="server-top"')
    return page.text.count("<details open>")


async def test_what_is_inside_a_row_is_there_when_it_is_open(app: App, admin: Browser) -> None:
    ids = await many(app, status.OPEN)
    page = await admin.get("/ui/status")
    assert open_rows(page) == 0
    assert open_rows(await admin.get("/ui/status?open=dmz-1")) == 1
    told = await admin.get(f"/ui/status/inside?id={ids[0]}&id={ids[2]}&id=nothing")
    assert re.findall(r'id="inside-([^"]*)" data-shown="([^"]*)" hx-swap-oob="outerMorph"', told.text) == [
        (id, re.findall(rf'id="server-{id}".*?data-now="([^"]*)"', page.text, re.DOTALL)[0]) for id in (ids[0], ids[2])
    ]
    assert (await admin.get("/ui/status/inside?" + "id=x&" * (status.ASKED + 1))).status_code == 422


async def test_some_of_those_in_trouble_are_open(app: App, admin: Browser, clock: Clock) -> None:
    await many(app, status.OPEN_IN_TROUBLE + 1)
    for each in range(status.OPEN_IN_TROUBLE + 1):
        await app.store.servers.observed(f"dmz-{each}", ServerState.UNREACHABLE, "It is away.", at=clock())
    assert open_rows(await admin.get("/ui/status")) == status.OPEN_IN_TROUBLE


async def test_few_rows_are_open(app: App, admin: Browser) -> None:
    await many(app, status.OPEN - 1)
    assert open_rows(await admin.get("/ui/status")) == status.OPEN


async def test_what_an_administrator_can_do(app: App, admin: Browser) -> None:
    await configure(app)
    record = await app.server_record("server")
    page = await admin.get("/ui/status")
    assert f"/ui/proxy-servers/{record.id}/drain" in page.text
    assert (await admin.post(f"/ui/proxy-servers/{record.id}/drain")).headers["location"] == "/ui/status"
    assert await app.drained() == {"server"}
    page = await admin.get("/ui/status")
    assert "will take no new sessions" in text_of(page)
    assert "will take no new sessions" not in text_of(await admin.get("/ui/status")), "once"
    assert f"/ui/proxy-servers/{record.id}/undrain" in page.text
    headers = {"Origin": "https://manager", "HX-Request": "true"}
    answer = await admin.post(f"/ui/proxy-servers/{record.id}/undrain", headers=headers)
    assert (answer.status_code, answer.headers["hx-trigger"][:8]) == (204, '{"note":')
    assert await app.drained() == frozenset()


async def test_start_and_stop(app: App, admin: Browser) -> None:
    await configure(app)
    await make(app, "tunnels", "t", proxy_server="server", port=1, private_key="host")
    id = (await app.catalog()).get("tunnels", "t").id
    for verb, state in (("stop", RunState.STOPPED), ("start", RunState.STARTED)):
        assert (await admin.post(f"/ui/tunnels/{id}/{verb}")).status_code == 303
        assert (await app.store.servers.run_states())[id] is state


def visit(app: App, browser: Browser) -> Visit:
    """As the stream has it; its request is needed for the state of the application alone."""
    state = SimpleNamespace(visitors=Visitors())
    request = cast(Any, SimpleNamespace(app=SimpleNamespace(state=state), client=None, cookies={}))
    return Visit(app, request, Actor("alice", Role.ADMIN), browser.token)


async def test_the_stream_tells_what_changed_and_ends_with_the_login(
    app: App, admin: Browser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(app)
    board = Board(app)
    picture = await board.look()
    told = status._told(visit(app, admin), board, picture.number)
    assert await anext(told) == "event: beat\ndata: -\n\n"
    await app.store.servers.observed("server", ServerState.UNREACHABLE, "It <is> away.", at=clock())
    news = await asyncio.wait_for(anext(told), 5)
    assert news.startswith(f"id: {board.epoch}-{picture.number + 1}\ndata: ")
    assert 'hx-swap-oob="outerMorph"' in news
    assert "It &lt;is&gt; away." in news
    assert "csrf" not in news
    assert "server-top" not in news, "the page asks for it when the row is open"
    await app.logins.logout(await app.logins.authenticate(admin.token, ""))
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.0)
    assert await asyncio.wait_for(anext(told), 5) == "event: ended\ndata: -\n\n"
    assert await anext(told, None) is None


async def test_who_has_seen_nothing_gets_all_of_it(app: App, admin: Browser) -> None:
    await configure(app)
    told = status._told(visit(app, admin), Board(app), -1)
    await anext(told)
    news = await anext(told)
    assert 'id="servers"' in news
    assert 'id="totals"' in news
    app.ending.set()
    assert await anext(told, None) is None


async def test_the_stream_over_http(app: App, admin: Browser) -> None:
    await configure(app)

    async def end() -> None:
        await asyncio.sleep(0.2)
        app.ending.set()

    page = (await admin.get("/ui/status")).text
    found = re.search(r'hx-sse:connect="([^"]*)"', page)
    assert found
    _, response = await asyncio.gather(end(), admin.get(found[1]))
    assert isinstance(response, httpx.Response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == "event: beat\ndata: -\n\n", "the page has all of it already"


def test_a_message_is_one_event() -> None:
    assert status.message("<p>\n\n a</p>", "x-1") == "id: x-1\ndata: <p>\ndata:  a</p>\n\n"
