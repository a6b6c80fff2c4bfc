"""The points of the charts: what all servers had counted, a row every few seconds, for as long as the charts go back.

Any manager writes the point of a moment; the first one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.database import Database

points = schema.point.c
Counts = Mapping[str, Any]


class Points:
    """A point is named by its moment, in whole periods."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, moment: int) -> list[tuple[int, Counts]]:
        """In their order."""
        query = select(schema.point).where(points.id > moment).order_by(points.id)
        async with self._database.reading() as connection:
            return [(row.id, row.counts or {}) for row in await connection.execute(query)]

    async def add(self, moment: int, counts: Counts, *, keep: int) -> None:
        """Unless it is there; those of more than `keep` moments ago go."""

        async def put(connection: AsyncConnection) -> None:
            there = select(points.id).where(points.id == moment)
            if (await connection.execute(there)).first() is None:
                await connection.execute(insert(schema.point).values(id=moment, counts=dict(counts) or None))
            await connection.execute(delete(schema.point).where(points.id <= moment - keep))

        await self._database.racing(put)
