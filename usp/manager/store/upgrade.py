"""Bringing a database's schema up to date, and checking that it is.

Migrating is explicit (`usp-manager db upgrade`); at its start a manager only checks. Migrations are in the package
(`migrations/versions`), run by Alembic without any configuration file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from usp.errors import UspError
from usp.manager.store.database import Database
from usp.manager.store.schema import VERSION_TABLE

MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def upgrade(url: str) -> str:
    """Run the migrations that the database lacks (`usp-manager db upgrade`); the revision it is at then."""
    database = Database(url, create=True)
    try:
        async with database.writing() as connection:
            await connection.run_sync(_upgrade)
            return await connection.run_sync(_check)
    finally:
        await database.close()


async def check(url: str) -> str:
    """The revision of the database, if it is the current one; UspError `database.schema` if not."""
    database = Database(url)
    try:
        return await check_schema(database)
    finally:
        await database.close()


async def check_schema(database: Database) -> str:
    """`check`, on an open database."""
    async with database.reading() as connection:
        return await connection.run_sync(_check)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check(connection: Connection) -> str:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    there = context.get_current_revision()
    needed = ScriptDirectory.from_config(_config()).get_current_head()
    if there != needed:
        found = f"is at revision {there}" if there else "has no schema yet"
        hint = "run `usp-manager db upgrade`"
        raise UspError("database.schema", f"the database {found}; this manager needs {needed}: {hint}", found=there)
    assert needed is not None
    return needed
