"""Export and apply over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.site import ADMIN, READER, configure, deploy, make, opened
from usp.errors import UspError
from usp.manager import bulk, sets
from usp.manager.app import App
from usp.secret import Secret

PHRASE = Secret("a long passphrase")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as made:
        yield made


async def filled(app: App) -> None:
    await configure(app)
    await deploy(app, "l", 2222)
    await make(app, "account-repositories", "partners")
    await make(app, "accounts", "a", account_repository="partners", username="u", password="hush-hush")
    await make(app, "ca-certificates", "own", generate={})


async def exported(app: App, passphrase: Secret | None = None) -> dict[str, Any]:
    _, items = await bulk.export_sealed(app, ADMIN, passphrase) if passphrase else await bulk.export(app)
    return {"items": items}


async def refused(code: str, app: App, body: Any, **kwargs: Any) -> UspError:
    before = await exported(app)
    with pytest.raises(UspError) as caught:
        await bulk.apply(app, ADMIN, body, **kwargs)
    assert caught.value.code == code
    assert await exported(app) == before
    return caught.value


async def test_what_was_exported_changes_nothing(app: App) -> None:
    await filled(app)
    revision = (await app.catalog()).revision
    for body, passphrase in ((await exported(app), None), (await exported(app, PHRASE), PHRASE)):
        for dry_run in (True, False):
            plan = await bulk.apply(app, ADMIN, body, passphrase=passphrase, prune=True, dry_run=dry_run)
            assert (plan.steps, plan.unchanged, plan.revision) == ((), len((await app.catalog()).records), revision)
    assert (await app.catalog()).revision == revision


async def test_an_empty_manager_becomes_the_same(app: App, tmp_path: Path) -> None:
    await filled(app)
    sealed = await exported(app, PHRASE)
    other = tmp_path / "other"
    other.mkdir()
    async with opened(other) as copy:
        plan = await bulk.apply(copy, ADMIN, sealed, passphrase=PHRASE)
        assert {step.action for step in plan.steps} == {"create"}
        assert await exported(copy, PHRASE) == sealed
        assert await exported(copy) == await exported(app)
        assert copy.store.items is not app.store.items


async def test_without_secrets_an_empty_manager_says_which_are_missing(app: App, tmp_path: Path) -> None:
    await filled(app)
    body = await exported(app)
    (tmp_path / "other").mkdir()
    async with opened(tmp_path / "other") as copy:
        error = await refused("item.invalid", copy, body)
        assert {problem.loc[-1] for problem in error.problems} == {"password", "private_key"}


async def test_all_or_nothing(app: App) -> None:
    good = {"name": "good"}
    bad = {"name": "bad", "allow": ["300.1.1.1"]}
    error = await refused("item.invalid", app, {"items": {"ip-filters": [good, bad]}})
    assert [problem.loc for problem in error.problems] == [("items", "ip-filters", 1, "allow", 0)]
    await refused("request.invalid", app, {"items": {"ip-filters": [good]}, "x": 1, "items_": []} | {"items": 3})


async def test_create_update_and_prune_in_one(app: App) -> None:
    await make(app, "ip-filters", "old")
    await make(app, "ip-filters", "kept", description="before")
    body = {"items": {"ip-filters": [{"name": "kept", "description": "after"}, {"name": "new"}]}}
    planned = await bulk.apply(app, ADMIN, body, prune=True, dry_run=True)
    assert not planned.applied
    assert (await app.catalog()).find("ip-filters", "old")
    done = await bulk.apply(app, ADMIN, body, prune=True, expected=[planned.revision])
    assert done.steps == planned.steps
    assert [(step.action, step.name) for step in done.steps] == [
        ("create", "new"),
        ("update", "kept"),
        ("delete", "old"),
    ]
    assert [record.item.name for record in (await app.catalog()).of_kind("ip-filters")] == ["kept", "new"]
    events = await app.store.events.page(limit=3, action="item.")
    assert [(event.action, event.target) for event in reversed(events)] == [
        ("item.create", "ip-filters/new"),
        ("item.update", "ip-filters/kept"),
        ("item.delete", "ip-filters/old"),
    ]


async def test_what_changed_since_the_plan_is_not_overwritten(app: App) -> None:
    body = {"items": {"ip-filters": [{"name": "f"}]}}
    planned = await bulk.apply(app, ADMIN, body, dry_run=True)
    await make(app, "ip-filters", "g")
    await refused("item.stale", app, body, expected=[planned.revision])


async def test_many_at_once_all_arrive(app: App) -> None:
    """Each plans again when another was faster: until then, its set is not half there."""
    wishes = [{"items": {"ip-filters": [{"name": f"a{n}"}, {"name": f"b{n}"}]}} for n in range(4)]
    await asyncio.gather(*(bulk.apply(app, ADMIN, body) for body in wishes))
    assert len((await app.catalog()).of_kind("ip-filters")) == 8


async def test_a_set_that_always_loses_gives_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    read = app.store.items.read

    async def overtaken() -> Any:
        catalog = await read()
        number = catalog.revision
        delta = app.delta(catalog, sets.changes(catalog, sets.wanted(
            {"items": {"ip-filters": [{"name": f"x{number}"}]}})))  # fmt: skip
        await app.store.items.write(delta, author="other", at=app.clock())
        return catalog

    monkeypatch.setattr(app, "catalog", overtaken)
    with pytest.raises(UspError) as caught:
        await bulk.apply(app, ADMIN, {"items": {"ip-filters": [{"name": "f"}]}})
    assert caught.value.code == "catalog.conflict"


async def test_who_may_and_what_a_passphrase_must_be(app: App) -> None:
    await make(app, "ip-filters", "f")
    for asked in (bulk.export_sealed(app, READER, PHRASE), bulk.apply(app, READER, {"items": []})):
        with pytest.raises(UspError) as caught:
            await asked
        assert caught.value.code == "auth.forbidden"
    with pytest.raises(UspError, match="at least 12 characters"):
        await bulk.export_sealed(app, ADMIN, Secret("short"))
    await bulk.export_sealed(app, ADMIN, PHRASE)
    (event,) = await app.store.events.page(action="export")
    assert (event.author, event.target) == ("admin", "sealed")


async def test_the_wrong_passphrase(app: App) -> None:
    await filled(app)
    body = await exported(app, PHRASE)
    for wrong in (None, Secret("another passphrase")):
        error = await refused("item.invalid", app, body, passphrase=wrong)
        assert "hush" not in str(error)
        assert len(error.problems) == 4
