"""Bringing a database's schema up to date, and checking that it is.

Migrating is explicit (`usp-manager db upgrade`); at its start a manager only checks. Migrations are in the package
(`migrations/versions`), run by Alembic without any configuration file. One upgrade runs at a time, however many were
started: on SQLite its transaction has the file's lock; elsewhere a second connection holds the one row of `usp_guard`,
because on Oracle every DDL statement commits and would let go of it. A process that dies lets go of it, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from usp.databases import DatabaseEngine, DatabaseSettings
from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database, translated

MIGRATIONS: Final = Path(__file__).parent / "migrations"
PATIENCE: Final = 3600.0
"""Seconds that a migration, or the one before it, may take."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema's history."""

    number: str
    what: str
    applied: bool


async def upgrade(at: DatabaseSettings) -> str:
    """Run the migrations that the database lacks (`usp-manager db upgrade`); the revision it is at then."""
    return await _migrate(at, lambda config: command.upgrade(config, "head"))


async def downgrade(at: DatabaseSettings, revision: str) -> str:
    """Back to the schema of an older release: what the newer one added is dropped. UspError `database.schema`."""
    if revision not in {step.revision for step in _scripts().walk_revisions()}:
        raise UspError("database.schema", f"there is no revision {revision}: see `usp-manager db history`")
    return await _migrate(at, lambda config: command.downgrade(config, revision))


async def check(at: DatabaseSettings) -> str:
    """The revision of the database, if it is the current one; UspError `database.schema` if not."""
    database = Database(at)
    try:
        return await check_schema(database)
    finally:
        await database.close()


async def check_schema(database: Database) -> str:
    """`check`, on an open database."""
    async with database.reading() as connection:
        return await connection.run_sync(_check)


async def history(at: DatabaseSettings) -> list[Revision]:
    """All revisions that this release knows, oldest first, and which of them the database has."""
    database = Database(at)
    try:
        async with database.reading() as connection:
            there = await connection.run_sync(_current)
    finally:
        await database.close()
    steps = list(_scripts().walk_revisions())[::-1]
    numbers = [step.revision for step in steps]
    applied = numbers.index(there) + 1 if there in numbers else 0
    return [Revision(step.revision, step.doc, place < applied) for place, step in enumerate(steps)]


async def _migrate(at: DatabaseSettings, how: Callable[[Config], None]) -> str:
    if at.engine is not DatabaseEngine.SQLITE:
        at = at.model_copy(update={"statement_timeout": PATIENCE})
    database = Database(at, create=True)

    def run(connection: Connection) -> str:
        _known(_current(connection))
        config = _config()
        config.attributes["connection"] = connection
        how(config)
        return _current(connection) or "nothing"

    try:
        async with _guarded(database), database.altering() as connection:
            return await connection.run_sync(run)
    finally:
        await database.close()


@asynccontextmanager
async def _guarded(database: Database) -> AsyncIterator[None]:
    if database.settings.engine is DatabaseEngine.SQLITE:
        yield
        return
    await _attempt(database, lambda connection: schema.guard.create(connection, checkfirst=True))
    await _attempt(database, lambda connection: connection.execute(insert(schema.guard).values(id=1)))
    async with translated(), database.engine.connect() as connection:
        await connection.execute(select(schema.guard).with_for_update())
        yield


async def _attempt(database: Database, work: Callable[[Connection], object]) -> None:
    """What fails when somebody else has just done it; what fails for another reason shows right afterwards."""
    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(work)
    except (SQLAlchemyError, OSError):
        pass


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
    return context.get_current_revision()


def _check(connection: Connection) -> str:
    there = _current(connection)
    needed = _scripts().get_current_head()
    assert needed is not None
    if there != needed:
        _known(there)
        found = f"is at revision {there}" if there else "has no schema yet"
        hint = "run `usp-manager db upgrade`"
        raise UspError("database.schema", f"the database {found}; this manager needs {needed}: {hint}", found=there)
    return needed


def _known(there: str | None) -> None:
    if there is None or there in {step.revision for step in _scripts().walk_revisions()}:
        return
    hint = "install that release here, or run its `usp-manager db downgrade`"
    raise UspError("database.schema", f"a newer release made the database's schema (revision {there}): {hint}")
