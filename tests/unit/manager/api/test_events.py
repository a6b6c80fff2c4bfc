"""The audit trail."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.unit.manager.api.calls import Api, refused
from usp.manager.app import App
from usp.manager.store.rows import Event


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
    for query in (
        {"acount": "x"},
        {"from": "yesterday"},
        {"to": "0.5"},
        {"source": "x"},
        {"order": "x"},
        {"after": str(2**63)},
    ):
        refused(await admin("GET", "/events", params=query), 422, "request.invalid")


LINE = {"event": "file.closed", "path": "/in/a", "session": "s1", "outcome": "ok"}
TOLD = Event(
    datetime(2026, 1, 1, 12, tzinfo=UTC), "acme", "file.closed", "/in/a", "192.0.2.1:5", LINE,
    server="dmz-1", listener="partners", session="s1", outcome="ok", chain="0" * 16, seq=1,
)  # fmt: skip


async def test_what_servers_told(app: App, admin: Api) -> None:
    await app.store.trails.take([(TOLD, "a" * 64)], TOLD.at)
    for query in (
        {"account": "acme"},
        {"session": "s1", "outcome": "ok"},
        {"source": "server", "server": "dmz-1", "listener": "partners", "path": "/in/"},
        {"from": "2026-01-01T12:00:00", "to": "2026-01-01T12:00:01Z", "source": "server"},
        {"after": "0", "order": "oldest", "action": "file."},
    ):
        (event,) = (await admin("GET", "/events", params=query)).json()["items"]
        assert (event["author"], event["target"], event["peer"]) == ("acme", "/in/a", "192.0.2.1:5")
        assert (event["server"], event["listener"], event["session"]) == ("dmz-1", "partners", "s1")
        assert event["detail"] == LINE
    for query in ({"source": "manager", "account": "acme"}, {"from": "2026-01-01T12:00:01", "account": "acme"}):
        assert (await admin("GET", "/events", params=query)).json()["items"] == []


async def test_how_far_servers_are_stored(app: App, admin: Api) -> None:
    await app.store.trails.take([(TOLD, "a" * 64)], TOLD.at)
    (chain,) = (await admin("GET", "/events/chains", params={"server": "dmz-1"})).json()["items"]
    assert (chain["chain"], chain["seq"], chain["hash"]) == ("0" * 16, 1, "a" * 64)
    assert chain["begun_at"] == "2026-01-01T12:00:00Z"
    assert (await admin("GET", "/events/chains", params={"server": "dmz-2"})).json()["items"] == []
