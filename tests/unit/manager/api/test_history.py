"""The history of items over the API."""

from __future__ import annotations

from tests.unit.manager.api.calls import Api, refused
from tests.unit.manager.site import PRIVATE


async def test_history(admin: Api, reader: Api) -> None:
    await admin.make("private-keys", name="k", private_key=PRIVATE.reveal())
    await admin("PUT", "/items/private-keys/k", {"name": "k", "description": "words"})
    id = (await admin("GET", "/items/private-keys/k")).json()["id"]
    await admin("DELETE", "/items/private-keys/k")
    for key in ("k", id):
        answer = (await reader("GET", f"/items/private-keys/{key}/history")).json()
        deleted, updated, created = answer["items"]
        assert answer["next"] is None
        assert (deleted["action"], deleted["author"], deleted["changes"]) == ("delete", "alice", [])
        (change,) = updated["changes"]
        assert (change["field"], change["before"], change["after"]) == ("description", "", "words")
        assert change["text"] == "description: nothing -> words"
        assert (created["secrets"], updated["secrets"]) == ({"private_key": "changed"}, {"private_key": "unchanged"})
        assert created["item_id"] == id
        assert "PRIVATE KEY" not in str(answer)
    page = (await admin("GET", f"/items/private-keys/{id}/history", params={"limit": 2})).json()
    rest = (await admin("GET", f"/items/private-keys/{id}/history", params={"after": page["next"]})).json()
    assert [each["action"] for each in rest["items"]] == ["create"]


async def test_no_history(admin: Api, nobody: Api) -> None:
    refused(await admin("GET", "/items/rules/never/history"), 404, "item.not_found")
    refused(await admin("GET", "/items/nonsense/x/history"), 404, "kind.unknown")
    refused(await nobody("GET", "/items/rules/never/history"), 401, "auth.invalid")
