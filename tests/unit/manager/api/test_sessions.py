"""Live sessions. (With a real server: tests/unit/manager/test_app.py.)"""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import SERVER_NAME, Api, refused
from usp.manager.app import App, LiveSession
from usp.status import SessionStatus

LIVE = LiveSession(SERVER_NAME, SessionStatus(id="x", listener="l", node="n", peer="192.0.2.5:1", slot=0, since=1.5))


async def test_servers_that_do_not_answer_are_named(admin: Api) -> None:
    assert (await admin("GET", "/sessions")).json() == {"items": [], "next": None, "unreachable": {}}
    await admin.configure()
    found = (await admin("GET", "/sessions")).json()
    assert found["items"] == []
    assert found["unreachable"].keys() == {SERVER_NAME}
    assert found["unreachable"][SERVER_NAME]
    refused(await admin("DELETE", "/sessions/x"), 404, "item.not_found")


async def test_sessions_with_their_server(app: App, admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found() -> tuple[list[LiveSession], dict[str, str]]:
        return [LIVE], {}

    monkeypatch.setattr(app, "sessions", found)
    (session,) = (await admin("GET", "/sessions")).json()["items"]
    assert session == {**LIVE.session.model_dump(), "server": SERVER_NAME}


async def test_killing_is_for_administrators(reader: Api) -> None:
    refused(await reader("DELETE", "/sessions/x"), 403, "auth.forbidden")
