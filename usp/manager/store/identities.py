"""Who of a provider's people is which user."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database

identities = schema.identity.c


class Identities:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def user_of(self, issuer: str, subject: str) -> str | None:
        """The id of the user."""
        query = select(identities.user_id).where(identities.issuer == issuer, identities.subject == subject)
        async with self._database.reading() as connection:
            found: str | None = (await connection.execute(query)).scalar_one_or_none()
            return found

    async def add(self, issuer: str, subject: str, user_id: str) -> None:
        """UspError `catalog.conflict`: they have logged in at another manager at the same moment."""
        try:
            async with self._database.writing() as connection:
                values = {"issuer": issuer, "subject": subject, "user_id": user_id}
                await connection.execute(insert(schema.identity).values(values))
        except IntegrityError:
            raise UspError("catalog.conflict") from None
