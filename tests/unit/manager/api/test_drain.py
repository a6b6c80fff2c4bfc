from __future__ import annotations

import asyncio

from tests.unit.manager.api.calls import SERVER_NAME, Api, Clock, refused
from usp.manager.app import App
from usp.status import Intake, Report, ServerState

DRAIN = f"/servers/{SERVER_NAME}/drain"


async def reported(app: App, clock: Clock, intake: Intake, sessions: int) -> None:
    """What the pusher would have seen."""
    report = Report(
        server=SERVER_NAME, software="1", boot="b", started_at=0.0, version=1, intake=intake, sessions=sessions
    )
    await app.store.servers.observed(SERVER_NAME, ServerState.RUNNING, "", at=clock(), report=report)


async def test_drain_and_back(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()
    answer = await admin("POST", DRAIN)
    assert (answer.status_code, answer.json()) == (
        202,
        {"server": SERVER_NAME, "drain": True, "intake": "open", "sessions": 0},
    )
    await reported(app, clock, Intake.CLOSED, 2)
    answer = await admin("POST", f"{DRAIN}?wait=0.3")
    assert (answer.status_code, answer.json()["sessions"]) == (202, 2)
    assert (await admin("GET", f"/servers/{SERVER_NAME}")).json()["drain"] is True
    waiting = asyncio.gather(admin("POST", f"{DRAIN}?wait=10"))
    await asyncio.sleep(0.1)
    await reported(app, clock, Intake.CLOSED, 0)
    (answer,) = await waiting
    assert (answer.status_code, answer.json()["intake"]) == (200, "closed")
    answer = await admin("POST", f"/servers/{SERVER_NAME}/undrain")
    assert (answer.status_code, answer.json()["drain"]) == (202, False)
    assert (await admin("GET", f"/servers/{SERVER_NAME}")).json()["drain"] is False


async def test_who_may_and_what_there_is(admin: Api, reader: Api) -> None:
    await admin.configure()
    refused(await reader("POST", DRAIN), 403, "auth.forbidden")
    refused(await admin("POST", "/servers/nobody/drain"), 404, "item.not_found")
    refused(await admin("POST", "/servers/nobody/undrain"), 404, "item.not_found")
