"""The history of items, over the real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.manager.site import ADMIN, PRIVATE, configure, deploy, make, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Delete, Update
from usp.manager.diff import FieldChange
from usp.ssh import keys


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as made:
        await configure(made)
        yield made


async def test_each_write_field_by_field(app: App) -> None:
    await make(app, "ip-filters", "f", block=["192.0.2.0/24"])
    await app.write(ADMIN, [Update("ip-filters", "f", {"name": "g", "block": [], "default": "block"})])
    (second, first), following = await app.history.of("ip-filters", "g")
    assert following is None
    assert [(each.action, each.name, each.author) for each in (first, second)] == [
        ("create", "f", "admin"),
        ("update", "g", "admin"),
    ]
    assert FieldChange("block", None, ["192.0.2.0/24"]) in first.changes
    assert second.changes == (
        FieldChange("name", "f", "g"),
        FieldChange("block", ["192.0.2.0/24"], []),
        FieldChange("default", "allow", "block"),
    )
    assert second.revision > first.revision
    assert second.at >= first.at


async def test_secrets_show_only_whether_they_changed(app: App) -> None:
    other, _ = keys.generate()
    await app.write(ADMIN, [Update("private-keys", "host", {"name": "host", "description": "new words"})])
    await app.write(ADMIN, [Update("private-keys", "host", {"name": "host", "private_key": other.reveal()})])
    found, _ = await app.history.of("private-keys", "host")
    assert [dict(each.secrets) for each in found] == [
        {"private_key": True},
        {"private_key": False},
        {"private_key": True},
    ]
    for secret in (PRIVATE, other):
        assert secret.reveal() not in repr(found)


async def test_references_are_told_by_name(app: App) -> None:
    await deploy(app, "l", 2222)
    (made,), _ = await app.history.of("listeners", "l")
    assert FieldChange("route", None, "r") in made.changes
    (made,), _ = await app.history.of("routes", "r")
    assert FieldChange("inbound_nodes", None, ["in"]) in made.changes


async def test_deleted_items_keep_their_history(app: App) -> None:
    await make(app, "ip-filters", "f")
    id = (await app.catalog()).get("ip-filters", "f").id
    await app.write(ADMIN, [Delete("ip-filters", "f")])
    for key in ("f", id):
        found, _ = await app.history.of("ip-filters", key)
        assert [each.action for each in found] == ["delete", "create"]
        assert (found[0].changes, dict(found[0].secrets)) == ((), {})
    await make(app, "ip-filters", "f")
    found, _ = await app.history.of("ip-filters", "f")
    assert [each.action for each in found] == ["create"], "the one that has the name now"
    found, _ = await app.history.of("ip-filters", id)
    assert [each.action for each in found] == ["delete", "create"]


async def test_page_after_page(app: App) -> None:
    await make(app, "ip-filters", "f")
    for number in range(4):
        await app.write(ADMIN, [Update("ip-filters", "f", {"name": "f", "description": str(number)})])
    whole, _ = await app.history.of("ip-filters", "f")
    pieces = []
    before: int | None = None
    while True:
        page, before = await app.history.of("ip-filters", "f", before=before, limit=2)
        pieces += page
        if before is None:
            break
    assert pieces == whole
    assert len(pieces) == 5


async def test_what_never_was(app: App) -> None:
    with pytest.raises(UspError, match="there is and was no IP Filter 'nobody'"):
        await app.history.of("ip-filters", "nobody")
    with pytest.raises(UspError) as caught:
        await app.history.of("nonsense", "x")
    assert caught.value.code == "kind.unknown"
