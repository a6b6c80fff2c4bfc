"""A pilot's SQLite file, copied whole to every engine; and one manager to a file."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from tests.catalogs import NOW, creates, delta, sample
from tests.contract.conftest import KEK, new_id
from tests.contract.test_users_and_events import BOB
from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.catalog import EMPTY
from usp.manager.compile import compile as compiled
from usp.manager.store import Store, schema
from usp.manager.store.copying import TABLES, backup, copy, restore
from usp.manager.store.rows import Event, Factor, RunState, Token, Webhook
from usp.manager.store.single import only_manager
from usp.manager.store.upgrade import upgrade
from usp.secret import Secret
from usp.status import Report, ServerState

ODD = NOW + timedelta(microseconds=123457)


@pytest.fixture
async def pilot(tmp_path: Path) -> DatabaseSettings:
    """A file with something in every table."""
    at = DatabaseSettings(path=str(tmp_path / "pilot.db"))
    await upgrade(at)
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    await store.items.write(delta(EMPTY, *creates()), author="ann", at=ODD)
    await store.versions.add(
        "dmz", compiled(sample(), "dmz"), catalog_revision=1, author="ann", at=NOW, comment="Zürich"
    )
    report = Report(server="dmz", software="1", boot="b", started_at=1.5, version=1)
    await store.servers.observed("dmz", ServerState.RUNNING, "fine", at=NOW, report=report)
    await store.servers.set_run_state("d1", RunState.STOPPED, author="ann", at=NOW)
    await store.users.add(BOB)
    await store.factors.put(Factor(BOB.id, Secret("JBSWY3DPEHPK3PXP"), NOW, NOW, 7))
    await store.identities.add("https://id.example.com", "1", BOB.id)
    await store.factors.put_codes(BOB.id, ["f" * 64])
    await store.users.add_token(Token("t1", "ci", BOB.id, "d" * 64, BOB.role, NOW))
    await store.lockouts.count(["user:x"], lambda subject, failures: None, now=NOW)
    await store.webhooks.add(
        Webhook("w1", "siem", "https://hooks.example/", Secret("whsec_x"), NOW, {"action": "file."})
    )
    await store.preferences.put("guard", {"id": "x"}, author="ann", at=NOW)
    await store.events.add(
        *[Event(ODD, "ann", "item.create", f"rules/{n}", detail={"revision": n}) for n in range(450)]
    )
    told = Event(ODD, "acme", "login", detail={"event": "login"}, server="dmz", chain="0" * 16, seq=1)
    await store.trails.take([(told, "a" * 64)], NOW)
    async with store._database.writing() as connection:
        login = {
            "id": "l1",
            "user_id": BOB.id,
            "digest": "e" * 64,
            "created_at": NOW,
            "used_at": NOW,
            "expires_at": NOW,
        }
        await connection.execute(insert(schema.login).values(login))
        rollout = {"made_at": NOW, "author": "ann", "catalog_revision": 1, "canary": True, "forced": False}
        more = {"patience": 5, "steps": [], "state": "running"}
        await connection.execute(insert(schema.rollout).values({**rollout, **more}))
        await connection.execute(insert(schema.rollout_content).values(rollout_id=1, server="dmz", content="sealed"))
    await store.close()
    return at


async def rows(at: DatabaseSettings) -> dict[str, list[tuple[object, ...]]]:
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    async with store._database.reading() as connection:
        found = {
            table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for table in TABLES
        }
    await store.close()
    return found


async def test_everything_arrives(pilot: DatabaseSettings, at: DatabaseSettings) -> None:
    counts = await copy(pilot, at)
    before = await rows(pilot)
    assert {name: len(found) for name, found in before.items()} == counts
    assert all(counts.values()), counts
    assert await rows(at) == before
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    assert (await store.items.read()).revision == 1
    assert (await store.versions.open("dmz", 1)).snapshot.content == compiled(sample(), "dmz")
    await store.events.add(Event(NOW, "ann", "later"))
    assert [event.number for event in await store.events.page(limit=2)] == [452, 451]
    with pytest.raises(UspError, match="nothing was copied") as caught:
        await copy(pilot, at)
    assert caught.value.code == "database.not_empty"
    await store.close()


async def test_a_wrong_kek_is_noticed_and_nothing_is_in_clear(pilot: DatabaseSettings, at: DatabaseSettings) -> None:
    await copy(pilot, at)
    with pytest.raises(UspError) as caught:
        await Store.open(at, b"x" * 32, now=NOW, new_id=new_id)
    assert caught.value.code == "vault.wrong_kek"
    assert "SECRET" not in repr(await rows(at))


def refused(at: DatabaseSettings, name: str) -> UspError:
    with pytest.raises(UspError) as caught, only_manager(at, name):
        pass
    return caught.value


async def test_one_manager_to_a_file(pilot: DatabaseSettings, at: DatabaseSettings) -> None:
    with only_manager(pilot, "usp-manager-1"):
        for attempt in range(2):
            error = refused(pilot, f"other-{attempt}")
            assert error.code == "database.in_use"
            assert "usp-manager-1, process" in error.message
            assert "several managers need" in error.message
        with pytest.raises(UspError, match="usp-manager-1"):
            await copy(pilot, at)
    with only_manager(pilot, "usp-manager-2"):
        pass


async def test_many_managers_to_a_server(at: DatabaseSettings, engine: str) -> None:
    if engine != "sqlite":
        with only_manager(at, "one"), only_manager(at, "two"):
            pass


async def test_a_disaster(pilot: DatabaseSettings, at: DatabaseSettings, tmp_path: Path) -> None:
    """A backup of any engine while it is written to; the database is lost; all of it is there again from the backup."""
    await copy(pilot, at)
    before = await rows(at)
    file = tmp_path / "backup.db"
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    async with store._database.reading():  # a manager is at work
        counts = await backup(at, file)
    await store.events.add(Event(NOW, "ann", "after the backup"))
    await store.close()
    assert counts == {name: len(found) for name, found in before.items()}
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"JBSWY3DPEHPK3PXP" not in file.read_bytes()
    with pytest.raises(UspError, match="left as it is"):
        await backup(at, file)

    fresh = DatabaseSettings(path=str(tmp_path / "fresh.db"))
    await restore(file, fresh)
    assert await rows(fresh) == before
    store = await Store.open(fresh, KEK, now=NOW, new_id=new_id)
    assert (await store.versions.open("dmz", 1)).snapshot.content == compiled(sample(), "dmz")
    await store.close()
    with pytest.raises(UspError) as caught:
        await restore(file, fresh)
    assert caught.value.code == "database.not_empty"
    assert await rows(fresh) == before
    with pytest.raises(UspError, match="there is no backup"):
        await restore(tmp_path / "nowhere.db", fresh)


async def test_a_restore_to_every_engine(pilot: DatabaseSettings, at: DatabaseSettings, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    await backup(pilot, file)
    await restore(file, at)
    assert await rows(at) == await rows(pilot)


async def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    nothing = DatabaseSettings(path=str(tmp_path / "nothing.db"))
    with pytest.raises(UspError):
        await backup(nothing, tmp_path / "backup.db")
    assert os.listdir(tmp_path) == []
