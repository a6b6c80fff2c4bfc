"""Settings that all managers share and that are changed while they run: a name and a JSON value each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.database import Database

settings = schema.setting.c


class Preferences:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Any:
        """None: not set."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(settings.content).where(settings.name == name))).first()
        return None if row is None else row.content

    async def put(self, name: str, content: Any, *, author: str, at: datetime) -> None:
        """None: no longer set."""

        async def put(connection: AsyncConnection) -> None:
            await connection.execute(delete(schema.setting).where(settings.name == name))
            if content is not None:
                values = {"name": name, "content": content, "author": author, "made_at": at}
                await connection.execute(insert(schema.setting).values(values))

        await self._database.racing(put)
