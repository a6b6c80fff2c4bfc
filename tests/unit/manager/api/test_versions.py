"""Versions and pushing. What the pusher does is written into the store by hand here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.manager.api.calls import SERVER_NAME, Api, Clock, refused
from tests.unit.manager.site import PRIVATE
from usp.errors import Problem
from usp.manager.app import App
from usp.status import PushState

PUSH = f"/servers/{SERVER_NAME}/push"


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
    whole = (await admin("GET", f"/servers/{SERVER_NAME}/versions/1")).json()
    assert {name: whole[name] for name in first} == first
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

        response, _ = await asyncio.gather(admin("POST", PUSH, {"force": True}, params={"wait": 5}), settle())
        return response

    applied = await waited(PushState.APPLIED)
    assert (applied.status_code, applied.json()["state"]) == (200, "applied")
    problem = Problem(("listeners", 0, "port"), "is in use")
    rejected = await waited(PushState.REJECTED, reason="port 22 is taken", problems=[problem])
    assert refused(rejected, 409, "push.rejected") == [(("listeners", 0, "port"), "is in use")]
    assert rejected.json()["detail"] == "port 22 is taken"
    shown = (await admin("GET", f"/servers/{SERVER_NAME}/versions/2")).json()
    assert (shown["state"], shown["reason"], shown["errors"][0]["msg"]) == ("rejected", "port 22 is taken", "is in use")
    pending = await admin("POST", PUSH, {"force": True}, params={"wait": 0.05})
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


async def test_what_a_push_would_change(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()
    path = f"/servers/{SERVER_NAME}/diff"
    first = (await admin("GET", path)).json()
    assert (first["server"], first["version"], first["digest"], first["changed"]) == (SERVER_NAME, 0, "", True)
    assert first["effects"]["sentences"][0] == "Opens 127.0.0.1:2222 for Listener 'partners'."
    pushed = (await admin("POST", PUSH)).json()
    assert pushed["digest"] == first["updated_digest"]
    await app.store.versions.pushed(SERVER_NAME, 1, PushState.APPLIED, at=clock())
    now = (await admin("GET", path)).json()
    assert (now["version"], now["digest"], now["changed"]) == (1, first["updated_digest"], False)
    refused(await admin("GET", "/servers/nobody/diff"), 404, "item.not_found")


async def test_what_a_version_holds_without_secrets(admin: Api, reader: Api) -> None:
    await admin.configure()
    await admin("POST", PUSH)
    found = (await reader("GET", f"/servers/{SERVER_NAME}/versions/1")).json()
    (listener,) = found["content"]["listeners"]
    assert (listener["name"], listener["nodes"][0]["host_keys"]) == ("partners", ["***"])
    assert PRIVATE.reveal() not in str(found)
    refused(await admin("GET", f"/servers/{SERVER_NAME}/versions/{2**70}"), 422, "request.invalid")


async def test_going_back(app: App, admin: Api, reader: Api, clock: Clock) -> None:
    await admin.configure()
    path = f"/servers/{SERVER_NAME}/rollback"
    first = (await admin("POST", PUSH)).json()
    await admin("POST", PUSH)
    response = await admin("POST", path, {"version": 1, "comment": "oops"})
    third = response.json()
    assert (response.status_code, third["version"], third["state"]) == (202, 3, "pending")
    assert (third["digest"], third["comment"], third["unchanged"]) == (first["digest"], "oops", False)
    refused(await admin("POST", path, {"version": 99}), 404, "version.not_found")
    refused(await reader("POST", path, {"version": 1}), 403, "auth.forbidden")
    assert refused(await admin("POST", path, {}), 422, "request.invalid") == [(("version",), "is required")]


async def test_a_push_that_changes_nothing(app: App, admin: Api, clock: Clock) -> None:
    await admin.configure()
    first = (await admin("POST", PUSH)).json()
    await app.store.versions.pushed(SERVER_NAME, 1, PushState.APPLIED, at=clock())
    response = await admin("POST", PUSH)
    again = response.json()
    assert (response.status_code, again["version"], again["unchanged"]) == (200, 1, True)
    assert again["at"] == first["at"]
    forced = (await admin("POST", PUSH, {"force": True})).json()
    assert (forced["version"], forced["unchanged"]) == (2, False)


async def test_two_versions_are_compared(admin: Api) -> None:
    await admin.configure()
    await admin("POST", PUSH)
    node = (await admin("GET", "/items/outbound-nodes/target")).json()
    assert (await admin("PUT", "/items/outbound-nodes/target", {**node, "port": 2022})).status_code == 200
    await admin("POST", PUSH)
    path = f"/servers/{SERVER_NAME}/diff"
    found = (await admin("GET", path, params={"from": 1, "to": 2})).json()
    assert (found["version"], found["updated_version"], found["changed"]) == (1, 2, True)
    assert found["differences"] == [
        {
            "change": "changed",
            "kind": "Outbound Node",
            "name": "target",
            "owner": "",
            "fields": [{"field": "port", "before": 22, "after": 2022, "text": "port: 22 -> 2022", "secret": False}],
            "text": "Outbound Node 'target' changed; port: 22 -> 2022",
        }
    ]
    assert found["effects"]["kept"] == [{"address": "127.0.0.1", "port": 2222, "kind": "Listener", "name": "partners"}]
    everything = (await admin("GET", path, params={"from": 0, "to": 1})).json()
    assert {each["change"] for each in everything["differences"]} == {"added"}
    refused(await admin("GET", path, params={"from": 9}), 404, "version.not_found")
    refused(await admin("GET", path, params={"to": "x"}), 422, "request.invalid")
