"""`usp-manager db copy`: everything from one database into another, empty one. So a pilot on SQLite grows up.

Rows go as they are: what is sealed stays sealed, with its data keys, so the destination needs the same KEK. The source
is read as of one moment; the destination is written in one transaction, after its numbering was set to go on behind
what comes, and counted before that is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Identity, Table, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.databases import DatabaseEngine, DatabaseSettings
from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.single import only_manager
from usp.manager.store.upgrade import check_schema, upgrade

BATCH: Final = 200
LEFT_OUT: Final = frozenset({schema.guard.name, schema.lease.name, schema.point.name, schema.receipt.name})
"""What concerns the managers at work, and nothing that they keep."""

TABLES: Final = tuple(table for table in schema.metadata.sorted_tables if table.name not in LEFT_OUT)


async def copy(source: DatabaseSettings, destination: DatabaseSettings) -> Mapping[str, int]:
    """Table -> rows, as counted in both at the end. UspError `database.not_empty`, `database.in_use`,
    `database.schema`; then nothing was written. The destination's schema is made if it has none."""
    with only_manager(source, "usp-manager db copy"):
        return await _between(source, destination)


async def backup(source: DatabaseSettings, file: Path) -> Mapping[str, int]:
    """The same into a new file, as of one moment, while managers serve. What is half done is removed."""
    if file.exists():  # noqa: ASYNC240  (once, before all else)
        raise UspError("database.not_empty", f"{file} exists and was left as it is")
    try:
        return await _between(source, DatabaseSettings(path=str(file)))
    except BaseException:
        for each in file.parent.glob(f"{file.name}*"):
            each.unlink()
        raise


async def restore(file: Path, destination: DatabaseSettings) -> Mapping[str, int]:
    """A backup into the empty database, which no manager serves from."""
    if not file.exists():  # noqa: ASYNC240
        raise UspError("database.unavailable", f"there is no backup {file}")
    with only_manager(destination, "usp-manager db restore"):
        return await _between(DatabaseSettings(path=str(file)), destination)


async def _between(source: DatabaseSettings, destination: DatabaseSettings) -> Mapping[str, int]:
    old = Database(source)
    try:
        await check_schema(old)
        await upgrade(destination)
        new = Database(destination)
        try:
            return await _copy(old, new)
        finally:
            await new.close()
    finally:
        await old.close()


async def _copy(old: Database, new: Database) -> Mapping[str, int]:
    async with old.reading() as reader:
        counts = {table.name: await _count(reader, table) for table in TABLES}
        async with new.writing() as writer:
            await _refuse_rows(writer)
        for table in TABLES:
            await _go_on_behind(reader, new, table)
        async with new.writing() as writer:
            await _refuse_rows(writer)
            for table in TABLES:
                await _rows(reader, writer, table)
            arrived = {table.name: await _count(writer, table) for table in TABLES}
            wrong = [name for name in counts if counts[name] != arrived[name]]
            if wrong:
                raise UspError("internal", f"not all rows arrived in {', '.join(wrong)}; nothing was written")
    return counts


async def _count(connection: AsyncConnection, table: Table) -> int:
    number: int = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return number


async def _refuse_rows(connection: AsyncConnection) -> None:
    """An empty database holds the one row that says: revision 0."""
    revision = (await connection.execute(select(schema.catalog.c.revision).with_for_update())).scalar_one()
    filled = [table.name for table in TABLES if table is not schema.catalog and await _count(connection, table)]
    if revision or filled:
        what = ", ".join(filled) or schema.catalog.name
        raise UspError("database.not_empty", f"the destination is not empty ({what}): nothing was copied")


async def _rows(reader: AsyncConnection, writer: AsyncConnection, table: Table) -> None:
    if table is schema.catalog:
        revision = (await reader.execute(select(schema.catalog.c.revision))).scalar_one()
        await writer.execute(update(schema.catalog).values(revision=revision))
        return
    async with reader.stream(select(table)) as found:
        async for rows in found.mappings().partitions(BATCH):
            await writer.execute(insert(table), [dict(row) for row in rows])


async def _go_on_behind(reader: AsyncConnection, new: Database, table: Table) -> None:
    """Rows that come with their numbers do not move what numbers the next one. (SQLite looks at the rows.)"""
    for column in table.columns:
        if column.identity is not None and new.settings.engine is not DatabaseEngine.SQLITE:
            last = (await reader.execute(select(func.max(column)))).scalar_one() or 0
            async with new.altering() as connection:
                await connection.execute(text(_restart(new.settings.engine, table, column, last + 1)))


def _restart(engine: DatabaseEngine, table: Table, column: Column[Any], number: int) -> str:
    assert isinstance(column.identity, Identity)
    if engine is DatabaseEngine.ORACLE:
        always = f"GENERATED BY DEFAULT AS IDENTITY (START WITH {number:d})"
        return f"ALTER TABLE {table.name} MODIFY {column.name} {always}"
    return f"ALTER TABLE {table.name} ALTER COLUMN {column.name} RESTART WITH {number:d}"
