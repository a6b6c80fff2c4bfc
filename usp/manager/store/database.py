"""Database: connections, transactions, and what drivers raise.

A commit whose answer is lost, because the network or the server went away at that moment, may have happened or not. So
each transaction on a database across the network leaves a receipt, a row with an id of its own, as its last statement.
After a lost answer another transaction tries to leave the same receipt, as not written: if it cannot, the first one had
come through (or has it still before it: the insert waits for that); if it can, the first one never will. Either way it
is known then, and nothing is half done, done twice, or reported wrongly.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Final, TypeVar
from uuid import uuid4

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from usp import metrics
from usp.databases import DatabaseEngine, DatabaseSettings
from usp.errors import UspError
from usp.manager.store import engines, schema
from usp.manager.store.clock import read_clock, utc_now

T = TypeVar("T")
RACES: Final = 10
LOCKED: Final = "database is locked"
"""What SQLite says when another process writes for longer than `engines.BUSY_TIMEOUT`."""
PAUSE: Final = 0.2
"""Seconds between questions to a database that has gone away."""
RECEIPTS_KEPT: Final = timedelta(hours=1)

_READING: Final = metrics.DATABASE_SECONDS.labels("reading")
_WRITING: Final = metrics.DATABASE_SECONDS.labels("writing")

_joined: ContextVar[tuple[Database, AsyncConnection] | None] = ContextVar("transaction", default=None)
"""The transaction that the caller is in."""


class Database:
    """`async with database.reading()` / `.writing()` give a connection in a transaction.

    Inside, IntegrityError may be caught by whoever expects it; everything else of the driver's leaves as UspError
    `database.unavailable`, or `catalog.conflict` when it lost a race, without the statement's parameters.
    """

    def __init__(self, settings: DatabaseSettings, *, create: bool = False) -> None:
        """A file database is only made with `create`, readable by its owner alone."""
        self.settings = settings
        self._engine = engines.make(settings, create=create)
        metrics.DATABASE_CONNECTIONS.set_function(self._in_use)
        # SQLite lets one write at a time, and whoever waits asks again and again until it is lucky. Within this
        # process they wait in turn instead, so that nobody is unlucky until "database is locked".
        one_at_a_time = settings.engine is DatabaseEngine.SQLITE
        self._turn: AbstractAsyncContextManager[None] = asyncio.Lock() if one_at_a_time else nullcontext()

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment of the database."""
        if (within := self._within()) is not None:
            yield within
            return
        with _READING.time():
            async with translated(), engines.reading(self._engine).begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by any exception. Within it, `reading` and `writing` join
        it: so several steps become one. UspError `database.unavailable` (nothing was written), or, when that could not
        be found out in time, `database.outcome_unknown`."""
        if (within := self._within()) is not None:
            yield within
            return
        with _WRITING.time():
            async with translated(), self._turn, engines.writing(self._engine).connect() as connection:
                await connection.begin()
                token = _joined.set((self, connection))
                try:
                    yield connection
                finally:
                    _joined.reset(token)
                try:
                    await self._commit(connection)
                except BaseException:
                    # SQLAlchemy holds a transaction whose COMMIT failed for over, SQLite does not: without this, the
                    # next one on this connection would begin within it.
                    await connection.rollback()
                    raise

    @asynccontextmanager
    async def altering(self) -> AsyncIterator[AsyncConnection]:
        """For changes of the schema, which can be repeated: without receipt."""
        async with translated(), self._turn, engines.writing(self._engine).begin() as connection:
            yield connection

    def _in_use(self) -> int:
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    def _within(self) -> AsyncConnection | None:
        joined = _joined.get()
        return joined[1] if joined is not None and joined[0] is self else None

    async def _commit(self, connection: AsyncConnection) -> None:
        if self.settings.engine is DatabaseEngine.SQLITE:
            await connection.commit()
            return
        receipt = str(uuid4())
        await connection.execute(insert(schema.receipt).values(id=receipt, written=True, made_at=utc_now()))
        try:
            await connection.commit()
        except (SQLAlchemyError, OSError):
            if not await self._was_written(receipt):
                raise

    async def _was_written(self, receipt: str) -> bool:
        """Asks until the database answers; UspError `database.outcome_unknown` when it does not for long."""
        deadline = asyncio.get_running_loop().time() + 2 * self.settings.statement_timeout
        while True:
            try:
                return await self._settled(receipt)
            except (SQLAlchemyError, OSError):
                if asyncio.get_running_loop().time() > deadline:
                    raise UspError("database.outcome_unknown") from None
                await asyncio.sleep(PAUSE)

    async def _settled(self, receipt: str) -> bool:
        try:
            async with engines.writing(self._engine).begin() as connection:
                await connection.execute(insert(schema.receipt).values(id=receipt, written=False, made_at=utc_now()))
        except IntegrityError:
            async with engines.reading(self._engine).begin() as connection:
                query = select(schema.receipt.c.written).where(schema.receipt.c.id == receipt)
                return bool((await connection.execute(query)).scalar_one())
        return False

    async def tidy(self) -> None:
        """Forget receipts that nobody will ask for any more."""
        async with self.writing() as connection:
            old = schema.receipt.c.made_at < await read_clock(connection) - RECEIPTS_KEPT
            await connection.execute(delete(schema.receipt).where(old))

    async def racing(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in a transaction, and again from the start when somebody else was faster: so it may insert what it
        did not find. UspError `catalog.conflict` when others are faster all the time."""
        if (within := self._within()) is not None:
            return await work(within)
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
            metrics.DATABASE_FAILURES_TOTAL.labels("catalog.conflict").inc()
            raise UspError("catalog.conflict") from None
        metrics.DATABASE_FAILURES_TOTAL.labels("database.unavailable").inc()
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = str(cause).splitlines()[0] if str(cause) else ""
        if said == LOCKED:
            said = "another process has it locked, such as a backup, or a command of usp-manager"
        reason = f"the database does not answer: {type(cause).__name__}: {said}"
        raise UspError("database.unavailable", reason.rstrip(": ")) from None
