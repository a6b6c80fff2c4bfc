"""Which items a list has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.manager.api.calls import Api, refused
from usp.manager.api.lists import PageQuery, cut

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
        ({"after": "x" * 601}, "after"),
        ({"limit": "1001"}, "limit"),
    ],
)
async def test_garbage(admin: Api, query: dict[str, Any], field: str) -> None:
    problems = refused(await admin("GET", NODES, params=query), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("query", field)]


@given(st.sets(st.text("abc", min_size=1)), st.integers(1, 5), st.booleans())
def test_pages_make_up_the_whole(entries: set[str], limit: int, latest_first: bool) -> None:
    found: list[str] = []
    query = PageQuery(limit=limit)
    while True:
        page, following = cut(entries, str, query, latest_first=latest_first)
        assert len(page) <= limit
        found += page
        if following is None:
            break
        assert len(page) == limit
        query = PageQuery(limit=limit, after=following)
    assert found == sorted(entries, reverse=latest_first)


@pytest.mark.parametrize("path", ["/users", "/tokens", "/logins", "/lockouts", "/servers", "/sessions"])
async def test_every_list_has_pages(admin: Api, path: str) -> None:
    whole = (await admin("GET", path)).json()
    assert whole["next"] is None
    assert isinstance(whole["items"], list)
    for query in ({"limit": "0"}, {"limit": "1001"}, {"page": "2"}, {"after": "x" * 601}):
        refused(await admin("GET", path, params=query), 422, "request.invalid")


async def test_users_and_tokens_by_the_page(admin: Api) -> None:
    for name in ("d", "b", "c"):
        assert (await admin("POST", "/users", {"username": name})).status_code == 201
        assert (await admin("POST", "/tokens", {"username": name, "name": "same"})).status_code == 201
    for path, field, names in (("/users", "username", ["alice", "b", "c", "d"]), ("/tokens", "username", None)):
        found, after = [], ""
        while True:
            page = (await admin("GET", path, params={"limit": 3, "after": after})).json()
            found += [entry[field] for entry in page["items"]]
            if not (after := page["next"]):
                break
        assert found == names if names else sorted(found) == ["alice", "b", "c", "d"]
