"""Store: opening and closing it, and its concerns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.events import Events
from usp.manager.store.factors import Factors
from usp.manager.store.identities import Identities
from usp.manager.store.items import Items
from usp.manager.store.keys import Keys
from usp.manager.store.leases import Leases
from usp.manager.store.lockouts import Lockouts
from usp.manager.store.points import Points
from usp.manager.store.preferences import Preferences
from usp.manager.store.rollouts import Rollouts
from usp.manager.store.servers import Servers
from usp.manager.store.trails import Trails
from usp.manager.store.upgrade import check_schema
from usp.manager.store.users import Users
from usp.manager.store.versions import Versions
from usp.manager.store.webhooks import Webhooks


class Store:
    """Everything that managers share. Made by `await Store.open(...)`; close it with `await store.close()`."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self.items = Items(database, keys)
        self.versions = Versions(database, keys)
        self.leases = Leases(database)
        self.rollouts = Rollouts(database, keys, self.leases)
        self.servers = Servers(database)
        self.users = Users(database)
        self.factors = Factors(database, keys)
        self.identities = Identities(database)
        self.webhooks = Webhooks(database, keys)
        self.lockouts = Lockouts(database)
        self.points = Points(database)
        self.preferences = Preferences(database)
        self.events = Events(database)
        self.trails = Trails(database)

    @classmethod
    async def open(
        cls,
        at: DatabaseSettings,
        kek: bytes,
        *,
        now: datetime,
        new_id: Callable[[], str],
        previous_kek: bytes | None = None,
    ) -> Store:
        """Check the schema (UspError `database.schema` when it is not current) and open the vault (`vault.wrong_kek`).

        `kek`: 32 bytes. The first start makes the data key.
        """
        database = Database(at)
        try:
            await check_schema(database)
            keys = Keys(database, kek, previous_kek)
            await keys.open(now=now, new_id=new_id)
        except BaseException:
            await database.close()
            raise
        return cls(database, keys)

    async def close(self) -> None:
        await self._database.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is written to the store within it is written together, or not at all."""
        try:
            async with self._database.writing():
                yield
        except IntegrityError:
            raise UspError("catalog.conflict") from None

    def seal(self, clear: bytes, place: str) -> str:
        """By the vault, for what is kept elsewhere; see `usp.manager.vault`."""
        return self._keys.vault.seal(clear, place)

    async def unseal(self, sealed: str, place: str) -> bytes:
        """UspError `vault.damaged`."""
        return (await self._keys.vault_for([sealed])).open(sealed, place)

    async def tidy(self) -> None:
        """To be called now and then."""
        await self._database.tidy()

    async def ping(self) -> None:
        """For /readyz: returns, or raises UspError `database.unavailable`."""
        async with self._database.reading() as connection:
            await connection.execute(select(schema.catalog.c.revision))
