"""Configuration as code over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.manager.api.calls import Api, refused

PHRASE = {"passphrase": "a long passphrase"}
FILTER = {"items": {"ip-filters": [{"name": "office", "allow": ["192.0.2.0/24"]}]}}


async def test_an_export_can_be_applied(admin: Api, reader: Api) -> None:
    await admin.configure()
    plain = await reader("GET", "/export")
    sealed = await admin("POST", "/export", PHRASE)
    assert (plain.status_code, sealed.status_code) == (200, 200)
    assert plain.headers["etag"] == sealed.headers["etag"]
    assert plain.json()["items"]["private-keys"] == [{"name": "host-key", "private_key": "***"}]
    assert sealed.json()["items"]["private-keys"][0]["private_key"].startswith("usp-sealed-1:")
    for body in (plain.json(), {**sealed.json(), **PHRASE}):
        answer = await admin("POST", "/apply", body, params={"dry_run": True, "prune": True})
        assert answer.json() == {
            "dry_run": True,
            "revision": int(plain.headers["etag"].strip('"')),
            "changes": [],
            "unchanged": 12,
        }
    assert "PRIVATE" not in plain.text + sealed.text


async def test_a_plan_and_its_application(admin: Api) -> None:
    planned = await admin("POST", "/apply", FILTER, params={"dry_run": "true"})
    assert planned.json() == {
        "dry_run": True,
        "revision": 0,
        "changes": [
            {"action": "create", "kind": "ip-filters", "name": "office", "fields": ["name", "allow"], "secrets": {}}
        ],
        "unchanged": 0,
    }
    done = await admin("POST", "/apply", FILTER, headers={"If-Match": planned.headers["etag"]})
    assert (done.status_code, done.json()) == (200, {**planned.json(), "dry_run": False, "revision": 1})
    assert done.headers["etag"] == '"1"'
    again = await admin("POST", "/apply", FILTER, headers={"If-Match": planned.headers["etag"]})
    refused(again, 412, "item.stale")
    assert (await admin("POST", "/apply", FILTER)).json()["unchanged"] == 1


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ([], ()),
        ({}, ("items",)),
        ({"items": {"toys": [{}]}}, ("items", "toys")),
        ({"items": {}, "x": 1}, ("x",)),
        ({"items": {}, "passphrase": 7}, ("passphrase",)),
        ({"items": {}, "passphrase": ""}, ("passphrase",)),
    ],
)
async def test_what_is_no_set(admin: Api, body: Any, loc: Any) -> None:
    problems = refused(await admin("POST", "/apply", body), 422, "request.invalid")
    assert [where for where, _ in problems] == [loc]


async def test_what_is_no_json(admin: Api) -> None:
    assert len(refused(await admin("POST", "/apply", content=b"{"), 422, "request.invalid")) == 1


async def test_problems_say_where_in_the_set(admin: Api) -> None:
    body = {"items": [{"kind": "ip-filters", "name": "a b"}, {"kind": "rules", "name": "r"}]}
    problems = refused(await admin("POST", "/apply", body), 422, "item.invalid")
    assert [loc for loc, _ in problems][:2] == [("items", 0, "name"), ("items", 1, "inbound_method")]


async def test_who_may(admin: Api, reader: Api, nobody: Api) -> None:
    for path, body in (("/apply", FILTER), ("/export", PHRASE)):
        refused(await reader("POST", path, body), 403, "auth.forbidden")
        refused(await nobody("POST", path, body), 401, "auth.invalid")
    refused(await nobody("GET", "/export"), 401, "auth.invalid")
    problems = refused(await admin("POST", "/export", {"passphrase": "short"}), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("passphrase",)]
