"""Store: opening and closing it, and its five concerns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from usp.manager.store.events import Events
from usp.manager.store.items import Items
from usp.manager.store.servers import Servers
from usp.manager.store.users import Users
from usp.manager.store.versions import Versions


class Store:
    """Everything that managers share. Made by `await Store.open(...)`; close it with `await store.close()`."""

    items: Items
    versions: Versions
    servers: Servers
    users: Users
    events: Events

    @classmethod
    async def open(cls, url: str, kek: bytes, *, now: datetime, new_id: Callable[[], str]) -> Store:
        """Check the schema (UspError `database.schema` when it is not current) and open the vault (`vault.wrong_kek`).

        `url`: `sqlite:///relative.db` or `sqlite:////absolute.db`; `kek`: 32 bytes. The first start makes the data key.
        """
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def ping(self) -> None:
        """For /readyz: returns, or raises UspError `database.unavailable`."""
        raise NotImplementedError
