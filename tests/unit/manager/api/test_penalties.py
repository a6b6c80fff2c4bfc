from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import SERVER_NAME, Api, refused
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.control import Endpoint
from usp.status import PenaltyStatus

ON = PenaltyStatus(
    key="source:2001:db8::",
    kind="source",
    name="2001:db8::/64",
    reason="failed logins",
    failures=5,
    seconds=9.5,
    until=1.5,
)


async def test_who_has_a_penalty(app: App, admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def on(endpoint: Endpoint) -> tuple[PenaltyStatus, ...]:
        assert endpoint.name == SERVER_NAME
        return (ON,)

    await admin.configure()
    monkeypatch.setattr(app.controls, "penalties", on)
    found = (await admin("GET", f"/servers/{SERVER_NAME}/penalties")).json()
    assert found == {"items": [ON.model_dump()], "next": None}
    refused(await admin("GET", "/servers/nobody/penalties"), 404, "item.not_found")


async def test_release(app: App, admin: Api, reader: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    released = []

    async def release(endpoint: Endpoint, key: str) -> None:
        if key != "username:a/b":
            raise UspError("penalty.unknown")
        released.append(key)

    await admin.configure()
    monkeypatch.setattr(app.controls, "release", release)
    path = f"/servers/{SERVER_NAME}/penalties"
    refused(await reader("DELETE", f"{path}/username:a%2Fb"), 403, "auth.forbidden")
    assert (await admin("DELETE", f"{path}/username:a%2Fb")).status_code == 204
    refused(await admin("DELETE", f"{path}/source:192.0.2.7"), 404, "penalty.unknown")
    assert released == ["username:a/b"]
    (event,) = [each for each in (await admin("GET", "/events")).json()["items"] if each["action"] == "penalty.release"]
    assert event["target"] == "username:a/b"


async def test_a_server_that_does_not_answer(admin: Api) -> None:
    await admin.configure()
    refused(await admin("GET", f"/servers/{SERVER_NAME}/penalties"), 503, "server.unreachable")
