"""Which items a list has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.manager.api.calls import Api, refused

NODES = "/items/inbound-nodes"


@pytest.fixture
async def three(admin: Api) -> None:
    await admin.configure()
    await admin.make("ip-filters", name="other")
    for name, filter_, enabled in (("a-1", "everybody", True), ("a-2", "other", False), ("b-1", "other", True)):
        await admin.make(
            "inbound-nodes", name=name, ip_filter=filter_, host_keys=["host-key"], rule="passthrough", enabled=enabled
        )


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["a-1", "a-2", "b-1", "partners"]),
        ({"name": "a-1"}, ["a-1"]),
        ({"name": "a-*"}, ["a-1", "a-2"]),
        ({"name": "*-1"}, ["a-1", "b-1"]),
        ({"name": "A-1"}, []),
        ({"enabled": "false"}, ["a-2"]),
        ({"enabled": "true", "name": "a*"}, ["a-1"]),
        ({"refers_to": "ip-filters/other"}, ["a-2", "b-1"]),
        ({"refers_to": "ip-filters/other", "enabled": "true"}, ["b-1"]),
        ({"refers_to": "routes/route"}, []),
        ({"refers_to": "rules/passthrough", "limit": 2, "after": "a-1"}, ["a-2", "b-1"]),
    ],
)
async def test_filters(admin: Api, query: dict[str, Any], found: list[str]) -> None:
    answer = (await admin("GET", NODES, params=query)).json()
    assert [item["name"] for item in answer["items"]] == found
    assert answer["next"] == ("b-1" if query.get("limit") else None)


@pytest.mark.usefixtures("three")
async def test_filters_by_id(admin: Api) -> None:
    id = (await admin("GET", "/items/ip-filters/other")).json()["id"]
    answer = (await admin("GET", NODES, params={"refers_to": id})).json()
    assert [item["name"] for item in answer["items"]] == ["a-2", "b-1"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"enabled": "maybe"}, "enabled"),
        ({"refers_to": "rules/lost"}, "refers_to"),
        ({"refers_to": "ducks/x"}, "refers_to"),
        ({"refers_to": "lost"}, "refers_to"),
        ({"refers_to": "/"}, "refers_to"),
        ({"refers": "x"}, "refers"),
        ({"after": "x" * 300}, "after"),
        ({"limit": "1001"}, "limit"),
    ],
)
async def test_garbage(admin: Api, query: dict[str, Any], field: str) -> None:
    problems = refused(await admin("GET", NODES, params=query), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("query", field)]
