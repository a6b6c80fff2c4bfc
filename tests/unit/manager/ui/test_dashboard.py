"""The Dashboard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.site import configure
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.store.rows import Event, Role, Server
from usp.manager.ui import dashboard
from usp.manager.ui.board import Board
from usp.manager.ui.ledger import Ledger
from usp.manager.ui.series import counted
from usp.manager.ui.site import application
from usp.status import Report


async def test_the_page(app: App, reader: Browser) -> None:
    await configure(app)
    page = await reader.get("/ui/dashboard")
    text = text_of(page)
    assert "There are changes that were not pushed." in text
    assert "Nobody has logged in within the last hour." in text
    assert "The charts begin in some seconds" in text
    assert "There was no session within the last hour." in text
    part = await reader.get("/ui/dashboard", hx_request="true", usp_poll="1")
    assert part.text.lstrip().startswith('<div id="figures"')


async def test_logins_of_the_last_hour(app: App, clock: Clock) -> None:
    def login(minutes: int, author: str, outcome: str, action: str = "login", server: str = "s") -> Event:
        at = clock() - timedelta(minutes=minutes)
        return Event(at=at, author=author, action=action, outcome=outcome, server=server)

    await app.store.events.add(
        login(1, "a", "ok"),
        login(2, "b", "ok"),
        login(3, "b", "ok"),
        login(3, "b", "failed"),
        login(4, "", "failed"),
        login(99, "old", "ok"),
        login(1, "admin", "ok", server=""),
        login(1, "a", "ok", action="session.ended"),
    )
    ledger = Ledger()
    ledger.add(await app.store.events.page(action="session.ended"), clock())
    found = await dashboard.figures(app, await Board(app).look(), ledger, [])
    assert [(each.name, each.sessions) for each in found.moved] == [("a", 1)]
    assert found.partners == [("b", 2, 1), ("a", 1, 0)]
    assert (found.succeeded, found.failed) == (3, 2)


async def test_what_ends_soon(app: App, clock: Clock) -> None:
    await configure(app)
    assert (await dashboard.figures(app, await Board(app).look(), Ledger(), [])).expiring == []
    user = await app.administrators.add("robot", Role.READ_ONLY, None, author="test")
    for name, days in (("soon", 10), ("later", 100), ("gone", -1), ("never", None)):
        end = None if days is None else clock() + timedelta(days=days)
        await app.administrators.add_token(name, user, author="test", expires_at=end)
    ((token, _),) = (await dashboard.figures(app, await Board(app).look(), Ledger(), [])).expiring
    assert (token.where, token.name) == ("API token of robot", "soon")
    clock.now = datetime(2100, 1, 1, tzinfo=UTC)
    found = await dashboard.figures(app, await Board(app).look(), Ledger(), [])
    assert {each.name for each, _ in found.expiring} == {"ca-certificates/ca", "tls-certificates/m"}
    assert any("expired" in concern.text for concern in found.concerns)


async def test_the_charts(app: App, reader: Browser) -> None:
    from typing import Any, cast

    transport = cast(Any, reader.http)._transport
    mounted = next(route for route in transport.app.routes if getattr(route, "path", "") == "/ui")
    series = mounted.app.state.series
    report = Report(server="s", software="1", boot="b", started_at=0.0, sessions=3)
    series.add(1, counted({"s": Server("s", report=report, age=1.0)}))
    assert (await reader.get("/ui/dashboard/series")).json()["sessions"] == [3]
    assert (await reader.get("/ui/dashboard/series?server=other")).json()["sessions"] == [None]
    page = await reader.get("/ui/dashboard")
    assert "<option>s</option>" in page.text
    assert application(app, series, Ledger()).state.series is series
