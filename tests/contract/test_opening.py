"""Opening a store: its schema, its key, and a database that does not answer."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Dialect, text, update
from sqlalchemy.dialects.oracle.base import OracleDialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable

from tests.catalogs import NOW, creates, delta
from tests.contract.conftest import KEK, OpenStore, new_id
from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.catalog import EMPTY
from usp.manager.store import Store, database, engines, schema
from usp.manager.store.database import Database
from usp.manager.store.upgrade import check, downgrade, history, upgrade
from usp.snapshot import Content

RESERVED_WORDS = """
    access add all alter and any as asc audit between by char check cluster column comment compress connect create
    current date decimal default delete desc distinct drop else exclusive exists file float for from grant group having
    identified immediate in increment index initial insert integer intersect into is level like lock long maxextents
    minus mlslabel mode modify noaudit nocompress not nowait null number of offline on online option or order pctfree
    prior public raw rename resource revoke row rowid rownum rows select session set share size smallint start
    successful synonym sysdate table then to trigger uid union unique update user validate values varchar varchar2 view
    whenever where with
"""
RESERVED = frozenset(RESERVED_WORDS.split())


async def refused(at: DatabaseSettings, kek: bytes = KEK) -> UspError:
    with pytest.raises(UspError) as caught:
        await Store.open(at, kek, now=NOW, new_id=new_id)
    return caught.value


# The schema


async def test_upgrading_twice_changes_nothing(at: DatabaseSettings) -> None:
    assert await upgrade(at) == await upgrade(at) == await check(at)


async def test_a_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    assert "there is no database" in str(await refused(file(tmp_path / "usp.db")))
    assert not os.listdir(tmp_path)


async def test_a_database_without_schema_is_refused(bare: DatabaseSettings, tmp_path: Path) -> None:
    (tmp_path / "usp.db").touch()  # sqlite's
    error = await refused(bare)
    assert error.code == "database.schema"
    assert "usp-manager db upgrade" in str(error)


async def run(at: DatabaseSettings, *statements: str) -> None:
    opened = database.Database(at)
    async with opened.altering() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await opened.close()


async def test_an_interrupted_upgrade_can_run_again(at: DatabaseSettings) -> None:
    await upgrade(at)
    await run(
        at,
        *[f"DROP TABLE {name}" for name in ("usp_event", "usp_version_content", "usp_version", schema.VERSION_TABLE)],
        "DROP INDEX usp_item_revision_ix",
    )
    await upgrade(at)
    assert await differences(at) == []


async def test_upgrades_at_once_are_one_after_the_other(bare: DatabaseSettings) -> None:
    assert len(set(await asyncio.gather(*[upgrade(bare) for _ in range(4)]))) == 1
    assert await differences(bare) == []


async def test_down_and_up_again(opened: OpenStore, at: DatabaseSettings) -> None:
    store = await opened()
    written = await store.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    pushed = await store.versions.add("dmz", Content(), catalog_revision=1, author="ann", at=NOW)
    await store.close()
    assert await downgrade(at, "0001") == "0001"
    assert [(step.number, step.applied) for step in await history(at)][:2] == [("0001", True), ("0002", False)]
    assert "is at revision 0001" in str(await refused(at))
    await upgrade(at)
    assert all(step.applied and step.what for step in await history(at))
    assert await differences(at) == []
    store = await opened()
    assert await store.items.read() == written
    found = await store.versions.open("dmz", 1)
    assert (found.version, found.snapshot.content) == (pushed, Content())
    with pytest.raises(UspError, match="no revision 17"):
        await downgrade(at, "17")


async def test_the_schema_of_a_newer_release_is_refused(at: DatabaseSettings) -> None:
    await upgrade(at)
    await run(at, f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    for attempt in (Store.open(at, KEK, now=NOW, new_id=new_id), upgrade(at), downgrade(at, "0001")):
        with pytest.raises(UspError, match=r"newer release .* 9999") as caught:
            await attempt
        assert caught.value.code == "database.schema"
    assert not any(step.applied for step in await history(at))


async def test_the_migrations_lead_to_the_schema(at: DatabaseSettings) -> None:
    await upgrade(at)
    assert await differences(at) == []


async def differences(at: DatabaseSettings) -> list[object]:
    def compare(connection: Connection) -> list[object]:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata))

    opened = database.Database(at)
    async with opened.reading() as connection:
        found = await connection.run_sync(compare)
    await opened.close()
    return found


def test_names_suit_every_engine() -> None:
    for table in schema.metadata.tables.values():
        named = [constraint.name for constraint in table.constraints] + [index.name for index in table.indexes]
        assert all(named), table
        assert all(len(str(name)) <= 30 for name in (table.name, *named, *table.columns.keys())), table
        assert table.name.startswith("usp_")
        assert not RESERVED & set(table.columns.keys()), table


@pytest.mark.parametrize("dialect", [OracleDialect, PGDialect])
def test_column_types_suit_every_engine(dialect: Callable[[], Dialect]) -> None:
    for table in schema.metadata.tables.values():
        ddl = str(CreateTable(table).compile(dialect=dialect()))
        assert not re.search(r"\b(BOOLEAN|JSON|DATE)\b", ddl), ddl


# The key


async def test_reopening_reads_everything(at: DatabaseSettings, opened: OpenStore) -> None:
    first = await opened()
    written = await first.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    await first.close()
    assert await (await opened()).items.read() == written


async def test_a_wrong_kek_is_refused_at_the_start(at: DatabaseSettings, opened: OpenStore) -> None:
    await opened()
    error = await refused(at, b"x" * 32)
    assert error.code == "vault.wrong_kek"


async def test_managers_that_start_first_together_share_one_key(at: DatabaseSettings) -> None:
    await upgrade(at)
    stores = await asyncio.gather(*[Store.open(at, KEK, now=NOW, new_id=new_id) for _ in range(4)])
    written = await stores[0].items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    for store in stores:
        assert await store.items.read() == written
        await store.close()


# A database that does not answer (sqlite's ways of it)


def file(path: Path) -> DatabaseSettings:
    return DatabaseSettings(path=str(path))


async def test_ping(store: Store) -> None:
    await store.ping()


async def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    await upgrade(file(tmp_path / "usp.db"))
    assert stat.S_IMODE((tmp_path / "usp.db").stat().st_mode) == 0o600


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UspError, match="No such file or directory") as caught:
        await upgrade(file(tmp_path / "none" / "usp.db"))
    assert caught.value.code == "database.unavailable"


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "usp.db").write_bytes(b"garbage " * 1000)
    error = await refused(file(tmp_path / "usp.db"))
    assert error.code == "database.unavailable"
    assert "not a database" in str(error)


async def test_a_database_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.05)
    at = file(tmp_path / "usp.db")
    await upgrade(at)
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    other = sqlite3.connect(tmp_path / "usp.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UspError, match="locked") as caught:
        await store.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    assert caught.value.code == "database.unavailable"
    assert "SECRET" not in str(caught.value)
    await store.ping()
    other.close()
    await store.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    await store.close()


async def test_who_writes_waits_in_turn(tmp_path: Path) -> None:
    """SQLite lets who waits ask again and again until it is lucky; here nobody is unlucky for long."""
    at = file(tmp_path / "usp.db")
    await upgrade(at)
    at_once, written = Database(at), list[int]()

    async def write(number: int) -> None:
        async with at_once.writing() as connection:
            await connection.execute(update(schema.catalog).values(revision=number))
            written.append(number)

    await asyncio.gather(*[write(number) for number in range(30)])
    assert written == [*range(30)], "in the order in which they came"
    await at_once.close()
