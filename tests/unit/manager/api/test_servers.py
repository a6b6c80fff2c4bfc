"""Servers, versions and pushing. What the pusher does is written into the store by hand here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.manager.api.calls import SERVER_NAME, Api, Clock, refused
from usp.errors import Problem
from usp.manager.app import App
from usp.model import ListenerType
from usp.status import ListenerState, ListenerStatus, PushState, Report, ServerState, SlotStatus

PUSH = f"/servers/{SERVER_NAME}/push"


async def test_a_server_nobody_has_seen(admin: Api) -> None:
    assert (await admin("GET", "/servers")).json() == {"items": []}
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
        slots=(SlotStatus(slot=0, pid=1, ready=True, sessions=3, restarts=0),),
        listeners=(
            ListenerStatus(
                id="i", name="l", type=ListenerType.SFTP, address="::", port=22, state=ListenerState.RUNNING
            ),
        ),
    )
    await app.store.servers.observed(SERVER_NAME, ServerState.RUNNING, "all is well", at=clock(), report=report)
    clock.pass_(seconds=4.5)
    server = (await admin("GET", f"/servers/{SERVER_NAME}")).json()
    assert (server["state"], server["reason"], server["version"], server["digest"]) == (
        "running",
        "all is well",
        7,
        "d",
    )
    assert (server["age"], server["sessions"], server["software"]) == (4.5, 3, "1.2")
    assert (server["slots"][0]["ready"], server["listeners"][0]["state"]) == (True, "running")


async def test_push(app: App, admin: Api) -> None:
    await admin.configure()
    response = await admin("POST", PUSH)
    first = response.json()
    assert (response.status_code, first["version"], first["state"]) == (202, 1, "pending")
    response = await admin("POST", PUSH, {"comment": "why not"})
    second = response.json()
    assert (second["version"], second["comment"], second["author"]) == (2, "why not", "alice")
    assert second["digest"] == first["digest"]
    assert (await admin("GET", f"/servers/{SERVER_NAME}")).json()["desired"] == 2
    page = (await admin("GET", f"/servers/{SERVER_NAME}/versions", params={"limit": 1})).json()
    assert ([version["version"] for version in page["items"]], page["next"]) == ([2], 2)
    page = (await admin("GET", f"/servers/{SERVER_NAME}/versions", params={"after": 2})).json()
    assert (page["items"], page["next"]) == ([first], None)
    assert (await admin("GET", f"/servers/{SERVER_NAME}/versions/1")).json() == first
    refused(await admin("GET", f"/servers/{SERVER_NAME}/versions/3"), 404, "version.not_found")
    refused(await admin("GET", f"/servers/{SERVER_NAME}/versions/x"), 422, "request.invalid")


async def test_waiting_for_a_push(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()

    async def waited(push: PushState, **why: Any) -> Any:
        async def settle() -> None:
            assert await app.bell.wait(5)
            version = await app.store.versions.latest(SERVER_NAME)
            assert version
            await app.store.versions.pushed(SERVER_NAME, version.number, push, at=clock(), **why)

        response, _ = await asyncio.gather(admin("POST", PUSH, params={"wait": 5}), settle())
        return response

    applied = await waited(PushState.APPLIED)
    assert (applied.status_code, applied.json()["state"]) == (200, "applied")
    problem = Problem(("listeners", 0, "port"), "is in use")
    rejected = await waited(PushState.REJECTED, reason="port 22 is taken", problems=[problem])
    assert refused(rejected, 409, "push.rejected") == [(("listeners", 0, "port"), "is in use")]
    assert rejected.json()["detail"] == "port 22 is taken"
    shown = (await admin("GET", f"/servers/{SERVER_NAME}/versions/2")).json()
    assert (shown["state"], shown["reason"], shown["errors"][0]["msg"]) == ("rejected", "port 22 is taken", "is in use")
    pending = await admin("POST", PUSH, params={"wait": 0.05})
    assert (pending.status_code, pending.json()["state"]) == (202, "pending")


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "inf", "soon"])
async def test_nobody_waits_for_ever(admin: Api, wait: str) -> None:
    problems = refused(await admin("POST", PUSH, params={"wait": wait}), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("query", "wait")]


async def test_pushes_that_cannot_be(admin: Api, reader: Api) -> None:
    refused(await admin("POST", PUSH), 404, "item.not_found")
    await admin.configure()
    refused(await reader("POST", PUSH), 403, "auth.forbidden")
    problems = refused(await admin("POST", PUSH, {"coment": "x"}), 422, "request.invalid")
    assert problems == [(("coment",), "there is no such field")]
    server = (await admin("GET", f"/items/proxy-servers/{SERVER_NAME}")).json()
    assert (await admin("PUT", f"/items/proxy-servers/{SERVER_NAME}", {**server, "enabled": False})).status_code == 200
    refused(await admin("POST", PUSH), 422, "compile.invalid")
    assert (await admin("GET", f"/servers/{SERVER_NAME}/versions")).json()["items"] == []


async def test_what_a_push_would_change(app: App, admin: Api) -> None:
    await admin.configure()
    path = f"/servers/{SERVER_NAME}/diff"
    first = (await admin("GET", path)).json()
    assert (first["server"], first["version"], first["digest"], first["changed"]) == (SERVER_NAME, 0, "", True)
    pushed = (await admin("POST", PUSH)).json()
    assert pushed["digest"] == first["updated_digest"]
    now = (await admin("GET", path)).json()
    assert (now["version"], now["digest"], now["changed"]) == (1, first["updated_digest"], False)
    refused(await admin("GET", "/servers/nobody/diff"), 404, "item.not_found")
