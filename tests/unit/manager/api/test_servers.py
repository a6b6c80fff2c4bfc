"""Servers, versions and pushing. What the pusher does is written into the store by hand here."""

from __future__ import annotations

from tests.unit.manager.api.calls import SERVER_NAME, Api, Clock, refused
from usp.manager.app import App
from usp.model import ListenerType
from usp.status import ListenerState, ListenerStatus, Report, ServerState, SlotStatus

PUSH = f"/servers/{SERVER_NAME}/push"


async def test_a_server_nobody_has_seen(admin: Api) -> None:
    assert (await admin("GET", "/servers")).json() == {"items": [], "next": None}
    await admin.configure()
    (server,) = (await admin("GET", "/servers")).json()["items"]
    assert (server["name"], server["state"], server["version"], server["desired"]) == (SERVER_NAME, "unknown", 0, 0)
    assert (server["age"], server["seen_at"], server["listeners"]) == (None, None, [])
    refused(await admin("GET", "/servers/nobody"), 404, "item.not_found")


async def test_a_server_as_it_reported(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()
    report = Report(
        server=SERVER_NAME,
        software="1.2",
        boot="b",
        started_at=0.0,
        version=7,
        digest="d",
        sessions=3,
        bytes_in=10,
        bytes_out=20,
        slots=(SlotStatus(slot=0, pid=1, ready=True, sessions=3, restarts=0),),
        listeners=(
            ListenerStatus(
                id="i", name="l", type=ListenerType.SFTP, address="::", port=22, state=ListenerState.RUNNING
            ),
        ),
    )
    await app.store.servers.observed(SERVER_NAME, ServerState.RUNNING, "all is well", at=clock(), report=report)
    server = (await admin("GET", f"/servers/{SERVER_NAME}")).json()
    assert (server["state"], server["reason"], server["version"], server["digest"]) == (
        "running",
        "all is well",
        7,
        "d",
    )
    assert (server["sessions"], server["software"]) == (3, "1.2")
    assert 0 <= server["age"] < 5
    assert (server["bytes_in"], server["bytes_out"], server["drain"], server["intake"]) == (10, 20, False, "open")
    assert (server["slots"][0]["ready"], server["listeners"][0]["state"]) == (True, "running")


async def test_what_has_changed_on_a_server(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()
    report = Report(server=SERVER_NAME, software="1.2", boot="b", started_at=0.0, version=7)
    await app.store.servers.observed(SERVER_NAME, ServerState.RUNNING, "fine", at=clock(), report=report)
    await app.store.servers.observed(SERVER_NAME, ServerState.UNREACHABLE, "away", at=clock())
    answer = (await admin("GET", f"/servers/{SERVER_NAME}/changes?limit=2")).json()
    assert [(each["subject"], each["was"], each["state"], each["reason"]) for each in answer["items"]] == [
        ("", "running", "unreachable", "away"),
        ("", "version 0", "version 7", ""),
    ]
    older = (await admin("GET", f"/servers/{SERVER_NAME}/changes?after={answer['next']}")).json()
    assert [(each["was"], each["state"]) for each in older["items"]] == [("unknown", "running")]
    assert older["next"] is None
    refused(await admin("GET", "/servers/nobody/changes"), 404, "item.not_found")
