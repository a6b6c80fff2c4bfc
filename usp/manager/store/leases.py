"""Leases: who does a job that one manager does at a time, such as looking after a server.

A lease is a row with a fence, a number that grows with each holder, and counts by the database's clock, so that
managers whose clocks differ do not hold it at once. It saves work done twice. Where two holders would do harm, the
write itself asks for the fence (`still_held`): one who was late, and does not know it yet, writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.clock import read_clock
from usp.manager.store.database import Database

leases = schema.lease.c


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    fence: int


class Leases:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, holder: str, lasting: timedelta) -> Lease | None:
        """Take it, or hold it for longer; None while somebody else holds it."""

        async def take(connection: AsyncConnection) -> Lease | None:
            now = await read_clock(connection)
            row = (await connection.execute(select(schema.lease).where(leases.name == name).with_for_update())).first()
            if row is None:
                values = {"name": name, "holder": holder, "fence": 1, "held_until": now + lasting}
                await connection.execute(insert(schema.lease).values(values))
                return Lease(name, holder, 1)
            if row.holder != holder and now <= row.held_until:
                return None
            fence = row.fence if row.holder == holder and now <= row.held_until else row.fence + 1
            await _put(connection, name, holder=holder, fence=fence, held_until=now + lasting)
            return Lease(name, holder, fence)

        return await self._database.racing(take)

    async def release(self, lease: Lease) -> None:
        """Let somebody else have it at once; the fence stays."""
        async with self._database.writing() as connection:
            if await still_held(connection, lease):
                now = await read_clock(connection)
                await _put(connection, lease.name, held_until=now - timedelta(microseconds=1))

    async def forget(self, name: str) -> None:
        """What it was for is gone."""
        async with self._database.writing() as connection:
            await connection.execute(delete(schema.lease).where(leases.name == name))


async def still_held(connection: AsyncConnection, lease: Lease) -> bool:
    """Within a transaction: whether nobody else has had it since; if so, nobody gets it before the transaction ends."""
    mine = select(leases.fence).where(leases.name == lease.name, leases.fence == lease.fence).with_for_update()
    return (await connection.execute(mine)).first() is not None


async def _put(connection: AsyncConnection, name: str, **values: str | int | datetime) -> None:
    await connection.execute(update(schema.lease).where(leases.name == name).values(**values))
