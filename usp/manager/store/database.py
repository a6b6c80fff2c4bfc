"""Database: connections, transactions and what drivers raise. The only file that knows engines apart."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from usp.errors import UspError

BUSY_TIMEOUT: Final = 10.0  # seconds that a writer waits for another on sqlite
WRITES: Final = "usp_writes"


class Database:
    """`async with database.reading()` / `.writing()` give a connection in a transaction.

    Inside, IntegrityError may be caught by whoever expects it; everything else of the driver's leaves as UspError
    `database.unavailable`, without the statement's parameters.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        """A file database is only made with `create`, readable by its owner alone."""
        self._engine = _engine(make_url(url), create)

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment of the database."""
        with_options = self._engine.execution_options()
        async with _translated(), with_options.begin() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by any exception."""
        with_options = self._engine.execution_options(**{WRITES: True})
        async with _translated(), with_options.begin() as connection:
            yield connection


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # a race lost: the caller knows which
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = (
            f"the database does not answer: {type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
        )
        raise UspError("database.unavailable", reason.rstrip(": ")) from None


def _engine(url: URL, create: bool) -> AsyncEngine:
    assert url.get_backend_name() == "sqlite", url.drivername
    assert url.database, "a database in memory is not shared between connections"
    _sqlite_file(Path(url.database), create)
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": BUSY_TIMEOUT},
        hide_parameters=True,
        pool_size=4,
        max_overflow=4,
        pool_timeout=30,
    )
    event.listen(engine.sync_engine, "connect", _sqlite_connected)
    event.listen(engine.sync_engine, "begin", _sqlite_begin)
    return engine


def _sqlite_file(path: Path, create: bool) -> None:
    try:
        if create:
            path.touch(mode=0o600, exist_ok=True)
        elif not path.exists():
            raise UspError("database.schema", f"there is no database at {path} yet: run `usp-manager db upgrade`")
    except OSError as error:
        raise UspError("database.unavailable", f"the database {path} cannot be made: {error.strerror}") from None


def _sqlite_connected(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _sqlite_begin, not by the driver's guess
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    """A writer takes the lock at its start: what it then reads stays true until it commits."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
