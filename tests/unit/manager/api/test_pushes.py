"""Pushes to several servers over the API. What a runner does is written into the store by hand here."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.unit.manager.api.calls import SERVER_NAME, Api, Clock, refused
from usp.manager.app import App
from usp.manager.rollout import RolloutState, Step, StepState


async def test_push_many(app: App, admin: Api, reader: Api, clock: Clock) -> None:
    await admin.configure()
    response = await admin("POST", "/push", {"servers": [SERVER_NAME], "canary": True, "wait": 5, "comment": "why"})
    found = response.json()
    assert (response.status_code, found["state"], found["canary"], found["wait"]) == (202, "running", True, 5)
    assert found["servers"] == [
        {"server": SERVER_NAME, "state": "waiting", "version": 0, "unchanged": False, "reason": ""}
    ]
    id = found["id"]
    rollout = await app.store.rollouts.get(id)
    ended = replace(
        rollout,
        steps=(Step(SERVER_NAME, StepState.APPLIED, 1, since=clock()),),
        state=RolloutState.DONE,
        ended_at=clock(),
    )
    claimed = await app.store.rollouts.claim(id, "r", timedelta(seconds=5))
    assert claimed is not None
    await app.store.rollouts.save(ended, claimed[1])
    found = (await reader("GET", f"/pushes/{id}")).json()
    assert (found["state"], found["servers"][0]["version"], found["author"]) == ("done", 1, "alice")
    assert (await reader("GET", "/pushes")).json() == {"items": [found], "next": None}
    page = (await reader("GET", "/pushes", params={"limit": 1})).json()
    assert (await reader("GET", "/pushes", params={"after": page["next"]})).json()["items"] == []


async def test_pushes_that_cannot_be(admin: Api, reader: Api) -> None:
    await admin.configure()
    refused(await reader("POST", "/push", {"servers": [SERVER_NAME]}), 403, "auth.forbidden")
    assert refused(await admin("POST", "/push", {"servers": []}), 422, "request.invalid")
    problems = refused(await admin("POST", "/push", {"servers": [SERVER_NAME, "x"]}), 422, "request.invalid")
    assert problems == [(("servers", 1), "there is no Proxy Server 'x'")]
    refused(await admin("GET", "/pushes/99"), 404, "rollout.not_found")
    refused(await admin("GET", "/pushes/x"), 422, "request.invalid")
