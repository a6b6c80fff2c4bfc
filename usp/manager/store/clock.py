"""The database's clock: the one that all managers share. Leases count by it, never by a manager's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from usp.manager.store.columns import UtcTime


class utc_now(FunctionElement[datetime]):  # noqa: N801  (an SQL function)
    """Now, also within a transaction that began long ago."""

    type = UtcTime()
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _postgresql(element: utc_now, compiler: object, **_: Any) -> str:
    return "(clock_timestamp() AT TIME ZONE 'UTC')"


@compiles(utc_now, "oracle")
def _oracle(element: utc_now, compiler: object, **_: Any) -> str:
    return "CAST(SYSTIMESTAMP AT TIME ZONE 'UTC' AS TIMESTAMP)"


@compiles(utc_now, "sqlite")
def _sqlite(element: utc_now, compiler: object, **_: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


async def read_clock(connection: AsyncConnection) -> datetime:
    now: datetime = (await connection.execute(select(utc_now()))).scalar_one()
    return now
