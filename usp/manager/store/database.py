"""Database: connections, transactions, and what drivers raise."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.store import engines, schema

T = TypeVar("T")
RACES: Final = 10


class Database:
    """`async with database.reading()` / `.writing()` give a connection in a transaction.

    Inside, IntegrityError may be caught by whoever expects it; everything else of the driver's leaves as UspError
    `database.unavailable`, or `catalog.conflict` when it lost a race, without the statement's parameters.
    """

    def __init__(self, settings: DatabaseSettings, *, create: bool = False) -> None:
        """A file database is only made with `create`, readable by its owner alone."""
        self.settings = settings
        self._engine = engines.make(settings, create=create)

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment of the database."""
        async with translated(), engines.reading(self._engine).begin() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by any exception."""
        async with translated(), engines.writing(self._engine).begin() as connection:
            yield connection

    async def racing(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in a transaction, and again from the start when somebody else was faster: so it may insert what it
        did not find. UspError `catalog.conflict` when others are faster all the time."""
        for _ in range(RACES):
            try:
                async with self.writing() as connection:
                    return await work(connection)
            except IntegrityError:
                continue
            except UspError as error:
                if error.code != "catalog.conflict":
                    raise
        raise UspError("catalog.conflict")


async def in_turn(connection: AsyncConnection) -> None:
    """Whoever calls this in a transaction waits until all others that did have committed, and sees what they wrote."""
    await connection.execute(update(schema.catalog).values(id=schema.catalog.c.id))


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """What comes out of a driver becomes a UspError."""
    try:
        yield
    except IntegrityError:
        raise  # a race lost: the caller knows which
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        if isinstance(error, DBAPIError) and engines.is_race(error):
            raise UspError("catalog.conflict") from None
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = str(cause).splitlines()[0] if str(cause) else ""
        reason = f"the database does not answer: {type(cause).__name__}: {said}"
        raise UspError("database.unavailable", reason.rstrip(": ")) from None
