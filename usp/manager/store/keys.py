"""The data keys, and the vault that they make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from usp.manager import vault
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.vault import Vault, WrappedKey

keys = schema.data_key.c


async def open_vault(
    database: Database, kek: bytes, *, now: datetime, new_id: Callable[[], str], previous: bytes | None = None
) -> Vault:
    """All data keys; the first manager that ever starts makes the first one. UspError `vault.wrong_kek`."""
    found = await _read(database)
    if not found:
        await _first(database, vault.new_key(kek, new_id()), now)
        found = await _read(database)
    return Vault(found, kek, previous)


async def _read(database: Database) -> list[WrappedKey]:
    async with database.reading() as connection:
        rows = await connection.execute(select(keys.id, keys.kek_id, keys.wrapped).order_by(keys.place))
        return [WrappedKey(row.id, row.kek_id, row.wrapped) for row in rows]


async def _first(database: Database, key: WrappedKey, now: datetime) -> None:
    values = {"id": key.id, "place": 1, "kek_id": key.kek_id, "wrapped": key.wrapped, "created_at": now}
    try:
        async with database.writing() as connection:
            await connection.execute(insert(schema.data_key).values(values))
    except IntegrityError:
        pass  # another manager was first: its key it is
