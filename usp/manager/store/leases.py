"""Leases: who does a job that one manager does at a time, such as looking after a server.

A lease is a row with a fence, a number that grows with each holder, and counts by the database's clock, so that
managers whose clocks differ do not hold it at once. It saves work done twice. Where two holders would do harm, the
write itself asks for the fence (`still_held`): one who was late, and does not know it yet, writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.clock import read_clock, utc_now
from usp.manager.store.database import Database

leases = schema.lease.c


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    fence: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A lease as it stands: who had it last, and the seconds that are left; none left: it is free."""

    name: str
    holder: str
    left: float


class Leases:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, holder: str, lasting: timedelta) -> Lease | None:
        """Take it, or hold it for longer; None while somebody else holds it."""
        found = await self.take_each([name], holder, lasting)
        return found[0] if found else None

    async def take_each(self, names: Iterable[str], holder: str, lasting: timedelta) -> Sequence[Lease]:
        """Take or hold those of them that nobody else holds, all in one transaction."""

        async def take(connection: AsyncConnection) -> Sequence[Lease]:
            # In one order on all managers, or two could wait for each other.
            now = await read_clock(connection)
            found = [await _take(connection, name, holder, now, lasting) for name in sorted(names)]
            return [lease for lease in found if lease is not None]

        return await self._database.racing(take)

    async def standing(self, prefix: str) -> Sequence[Standing]:
        """Those whose names begin so, without taking any."""
        query = select(schema.lease, utc_now().label("now")).where(leases.name.startswith(prefix, autoescape=True))
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(leases.name))
            return [Standing(row.name, row.holder, (row.held_until - row.now).total_seconds()) for row in rows]

    async def release(self, *held: Lease) -> None:
        """Let somebody else have them at once; the fences stay."""
        async with self._database.writing() as connection:
            for lease in sorted(held, key=lambda lease: lease.name):
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


async def _take(connection: AsyncConnection, name: str, holder: str, now: datetime, lasting: timedelta) -> Lease | None:
    """`now` may be a little past: then a lease is held a little shorter."""
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


async def _put(connection: AsyncConnection, name: str, **values: str | int | datetime) -> None:
    await connection.execute(update(schema.lease).where(leases.name == name).values(**values))
