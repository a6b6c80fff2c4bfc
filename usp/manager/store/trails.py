"""What servers tell of their partners, as it comes: each event once, whichever manager brings it, and without a gap.

How far a chain is stored is written in the same transaction as its events, and who writes holds that row: so a manager
that brings what another has stored meanwhile, or that comes back after an outage, adds only what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.chain import Link
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.events import insert_events
from usp.manager.store.rows import Event

chains = schema.event_chain.c


@dataclass(frozen=True, slots=True)
class Trail:
    """How far a server's chain is stored."""

    last: Link
    begun_at: datetime
    stored_at: datetime


class Trails:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, server: str = "") -> list[Trail]:
        """Those of all servers, or of one; of each the newest first."""
        query = select(schema.event_chain).order_by(chains.server, chains.begun_at.desc(), chains.chain)
        async with self._database.reading() as connection:
            return [
                _trail(row)
                for row in await connection.execute(query.where(chains.server == server) if server else query)
            ]

    async def newest(self, server: str) -> Link | None:
        """The last line that is stored of the server's newest chain."""
        mine = select(schema.event_chain).where(chains.server == server).order_by(chains.begun_at.desc()).limit(1)
        async with self._database.reading() as connection:
            row = (await connection.execute(mine)).first()
        return None if row is None else Link(row.server, row.chain, row.seq, row.hash)

    async def take(self, events: Sequence[tuple[Event, str]], at: datetime) -> int:
        """Store the events (each with its hash) of one chain that are not stored yet; how many that were."""

        async def take(connection: AsyncConnection) -> int:
            first, _ = events[0]
            mine = (chains.server == first.server) & (chains.chain == first.chain)
            row = (await connection.execute(select(chains.seq).where(mine).with_for_update())).first()
            new = [(event, hash) for event, hash in events if row is None or event.seq > row.seq]
            if not new:
                return 0
            last, hash = new[-1]
            tip = {"seq": last.seq, "hash": hash, "stored_at": at}
            if row is None:
                begun = {"server": first.server, "chain": first.chain, "begun_at": first.at, **tip}
                await connection.execute(insert(schema.event_chain).values(begun))
            else:
                await connection.execute(update(schema.event_chain).where(mine).values(tip))
            await insert_events(connection, [event for event, _ in new])
            return len(new)

        return await self._database.racing(take)


def _trail(row: Row[Any]) -> Trail:
    return Trail(Link(row.server, row.chain, row.seq, row.hash), row.begun_at, row.stored_at)
