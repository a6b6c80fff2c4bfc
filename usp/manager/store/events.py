"""The audit trail: only ever appended to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.database import Database, in_turn
from usp.manager.store.rows import NOTHING, Event

TARGET_LENGTH: Final = 300
events = schema.event.c


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, *added: Event) -> None:
        """All of them in one transaction."""
        async with self._database.writing() as connection:
            await insert_events(connection, added)

    async def page(self, *, before: int | None = None, limit: int = 100, action: str = "") -> list[Event]:
        """Newest first; `before` a number, for the next page; `action` a prefix such as `login.`."""
        query = select(schema.event).order_by(events.id.desc()).limit(limit)
        if before is not None:
            query = query.where(events.id < before)
        if action:
            query = query.where(events.action.startswith(action, autoescape=True))
        return await self._all(query)

    async def since(self, number: int, limit: int = 100) -> list[Event]:
        """Oldest first, those after `number`: for streams."""
        return await self._all(select(schema.event).where(events.id > number).order_by(events.id).limit(limit))

    async def _all(self, query: Select[Any]) -> list[Event]:
        async with self._database.reading() as connection:
            return [_event(row) for row in await connection.execute(query)]


async def insert_events(connection: AsyncConnection, events: Sequence[Event]) -> None:
    if events:
        await in_turn(connection)  # numbers in the order of commits: a stream asks for those after the last
        await connection.execute(insert(schema.event), [_values(event) for event in events])


def _values(event: Event) -> dict[str, Any]:
    return {
        "made_at": event.at,
        "author": event.author,
        "action": event.action,
        "target": event.target[:TARGET_LENGTH],
        "peer": event.peer,
        "detail": dict(event.detail) or None,
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
    )
