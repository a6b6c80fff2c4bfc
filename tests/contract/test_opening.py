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
from sqlalchemy import Connection, Dialect
from sqlalchemy.dialects.oracle.base import OracleDialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable

from tests.catalogs import NOW, creates, delta
from tests.contract.conftest import KEK, OpenStore, new_id
from usp.errors import UspError
from usp.manager.catalog import EMPTY
from usp.manager.store import Store, database, schema
from usp.manager.store.upgrade import check, upgrade

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


async def refused(url: str, kek: bytes = KEK) -> UspError:
    with pytest.raises(UspError) as caught:
        await Store.open(url, kek, now=NOW, new_id=new_id)
    return caught.value


# The schema


async def test_upgrading_twice_changes_nothing(url: str) -> None:
    assert await upgrade(url) == await upgrade(url) == await check(url)


async def test_a_database_without_schema_is_refused(url: str, tmp_path: Path) -> None:
    assert "there is no database" in str(await refused(url))
    assert not os.listdir(tmp_path)
    (tmp_path / "usp.db").touch()
    error = await refused(url)
    assert error.code == "database.schema"
    assert "usp-manager db upgrade" in str(error)


async def test_an_interrupted_upgrade_can_run_again(url: str, tmp_path: Path) -> None:
    await upgrade(url)
    with sqlite3.connect(tmp_path / "usp.db") as connection:
        for name in ("usp_event", "usp_version", schema.VERSION_TABLE):
            connection.execute(f"DROP TABLE {name}")
        connection.execute("DROP INDEX usp_item_revision_ix")
    connection.close()
    await upgrade(url)
    assert await differences(url) == []


async def test_the_migrations_lead_to_the_schema(url: str) -> None:
    await upgrade(url)
    assert await differences(url) == []


async def differences(url: str) -> list[object]:
    def compare(connection: Connection) -> list[object]:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata))

    opened = database.Database(url)
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


async def test_reopening_reads_everything(url: str, opened: OpenStore) -> None:
    first = await opened()
    written = await first.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    await first.close()
    assert await (await opened()).items.read() == written


async def test_a_wrong_kek_is_refused_at_the_start(url: str, opened: OpenStore) -> None:
    await opened()
    error = await refused(url, b"x" * 32)
    assert error.code == "vault.wrong_kek"


async def test_managers_that_start_first_together_share_one_key(url: str) -> None:
    await upgrade(url)
    stores = await asyncio.gather(*[Store.open(url, KEK, now=NOW, new_id=new_id) for _ in range(4)])
    written = await stores[0].items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    for store in stores:
        assert await store.items.read() == written
        await store.close()


# A database that does not answer (sqlite's ways of it)


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


async def test_ping(store: Store) -> None:
    await store.ping()


async def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    await upgrade(sqlite_url(tmp_path / "usp.db"))
    assert stat.S_IMODE((tmp_path / "usp.db").stat().st_mode) == 0o600


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UspError, match="No such file or directory") as caught:
        await upgrade(sqlite_url(tmp_path / "none" / "usp.db"))
    assert caught.value.code == "database.unavailable"


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "usp.db").write_bytes(b"garbage " * 1000)
    error = await refused(sqlite_url(tmp_path / "usp.db"))
    assert error.code == "database.unavailable"
    assert "not a database" in str(error)


async def test_a_database_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    url = sqlite_url(tmp_path / "usp.db")
    await upgrade(url)
    store = await Store.open(url, KEK, now=NOW, new_id=new_id)
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
