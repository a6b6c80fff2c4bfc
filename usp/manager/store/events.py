"""The audit trail: only ever appended to, until what is old is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Unpack

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.database import Database, in_turn
from usp.manager.store.rows import NOTHING, Event, Source, Wanted

TARGET_LENGTH: Final = 300
SLICE: Final = 2000
"""Numbers that are forgotten in one transaction, at the most."""
events = schema.event.c


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, *added: Event) -> None:
        """All of them in one transaction."""
        async with self._database.writing() as connection:
            await insert_events(connection, added)

    async def page(
        self, *, before: int | None = None, after: int | None = None, limit: int = 100, **wanted: Unpack[Wanted]
    ) -> list[Event]:
        """Newest first, or with `after` oldest first; `before` and `after` are numbers, for the next page."""
        query = select(schema.event).where(*_conditions(wanted)).limit(limit)
        if before is not None:
            query = query.where(events.id < before)
        if after is None:
            return await self._all(query.order_by(events.id.desc()))
        return await self._all(query.where(events.id > after).order_by(events.id))

    async def since(self, number: int, limit: int = 100, **wanted: Unpack[Wanted]) -> tuple[list[Event], int]:
        """Oldest first, those after `number`, and the number to go on from: for streams."""
        async with self._database.reading() as connection:
            newest = (await connection.execute(select(func.max(events.id)))).scalar_one() or 0
            if newest <= number:
                return [], number
            query = select(schema.event).where(events.id > number, events.id <= newest, *_conditions(wanted))
            rows = (await connection.execute(query.order_by(events.id).limit(limit))).all()
        found = [_event(row) for row in rows]
        return found, found[-1].number if len(found) == limit else newest

    async def tally(self, action: str, *, since: datetime) -> list[tuple[str, str, int]]:
        """How often that happened: account, outcome, count."""
        query = (
            select(events.author, events.outcome, func.count())
            .where(events.made_at >= since, events.action == action, events.server.is_not(None))
            .group_by(events.author, events.outcome)
        )
        async with self._database.reading() as connection:
            return [(row[0] or "", row[1] or "", row[2]) for row in await connection.execute(query)]

    async def forget(self, source: Source, before: datetime) -> bool:
        """Delete some of those that are older; False when none is left."""
        old = [events.made_at < before, *_conditions({"source": source})]
        async with self._database.writing() as connection:
            first = (await connection.execute(select(func.min(events.id)).where(*old))).scalar_one()
            if first is None:
                return False
            await connection.execute(delete(schema.event).where(events.id < first + SLICE, *old))
            return True

    async def _all(self, query: Select[Any]) -> list[Event]:
        async with self._database.reading() as connection:
            return [_event(row) for row in await connection.execute(query)]


async def insert_events(connection: AsyncConnection, events: Sequence[Event]) -> None:
    if events:
        await in_turn(connection)  # numbers in the order of commits: a stream asks for those after the last
        await connection.execute(insert(schema.event), [_values(event) for event in events])


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, prefix in ((events.action, wanted.get("action")), (events.target, wanted.get("path"))):
        if prefix:
            found.append(column.startswith(prefix[:TARGET_LENGTH], autoescape=True))
    equal = (
        (events.author, wanted.get("account")),
        (events.server, wanted.get("server")),
        (events.listener, wanted.get("listener")),
        (events.outcome, wanted.get("outcome")),
        (events.session_id, wanted.get("session")),
    )
    found += [column == value for column, value in equal if value]
    if (source := wanted.get("source")) is not None:
        found.append(events.server.is_(None) if source is Source.MANAGER else events.server.is_not(None))
    if (since := wanted.get("since")) is not None:
        found.append(events.made_at >= since)
    if (until := wanted.get("until")) is not None:
        found.append(events.made_at < until)
    return found


def _values(event: Event) -> dict[str, Any]:
    return {
        "made_at": event.at,
        "author": event.author,
        "action": event.action,
        "target": event.target[:TARGET_LENGTH],
        "peer": event.peer,
        "detail": dict(event.detail) or None,
        "server": event.server,
        "listener": event.listener,
        "session_id": event.session,
        "outcome": event.outcome,
        "chain": event.chain,
        "seq": event.seq or None,
    }


def _event(row: Row[Any]) -> Event:
    return Event(
        at=row.made_at,
        author=row.author,
        action=row.action,
        target=row.target,
        peer=row.peer,
        detail=row.detail or NOTHING,
        number=row.id,
        server=row.server,
        listener=row.listener,
        session=row.session_id,
        outcome=row.outcome,
        chain=row.chain,
        seq=row.seq or 0,
    )
