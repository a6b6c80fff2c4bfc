"""The audit trail."""

from __future__ import annotations

from tests.unit.manager.api.calls import Api, refused


async def test_pages_newest_first(admin: Api) -> None:
    for name in ("a", "b", "c"):
        await admin.make("ip-filters", name=name)
    first = (await admin("GET", "/events", params={"limit": 2, "action": "item."})).json()
    assert [event["target"] for event in first["items"]] == ["ip-filters/c", "ip-filters/b"]
    event = first["items"][0]
    assert (event["author"], event["action"], event["peer"]) == ("alice", "item.create", "192.0.2.7")
    assert event["detail"].keys() == {"revision"}
    rest = (await admin("GET", "/events", params={"limit": 2, "action": "item.", "after": first["next"]})).json()
    assert ([event["target"] for event in rest["items"]], rest["next"]) == (["ip-filters/a"], None)


async def test_garbage(admin: Api) -> None:
    for query in ({"after": "x"}, {"after": "-1"}, {"limit": "5000"}, {"action": "x" * 65}):
        refused(await admin("GET", "/events", params=query), 422, "request.invalid")
