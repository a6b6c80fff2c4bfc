"""The data keys, the vault that they make, and changing what they are wrapped with.

A data key is a row that says by itself with which KEK it is wrapped. Rotating the KEK wraps one row after the other, a
transaction each: killed at any point, it is started again and goes on with what is left. Until it has been through,
managers need both KEKs (`encryption.rotation`); nothing that is sealed is touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager import vault
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.upgrade import check_schema
from usp.manager.vault import Vault, WrappedKey

keys = schema.data_key.c


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: data keys that it wrapped anew, and those that were wrapped with the new KEK already."""

    rewrapped: int
    already: int


class Keys:
    """The vault of one process, and where its keys come from."""

    def __init__(self, database: Database, kek: bytes, previous: bytes | None) -> None:
        self._database = database
        self._kek = kek
        self._previous = previous
        self._vault: Vault | None = None

    @property
    def vault(self) -> Vault:
        assert self._vault is not None
        return self._vault

    async def open(self, *, now: datetime, new_id: Callable[[], str]) -> None:
        """The first manager that ever starts makes the first data key. UspError `vault.wrong_kek`."""
        found = await _read(self._database)
        if not found:
            await _add(self._database, vault.new_key(self._kek, new_id()), 1, now)
            found = await _read(self._database)
        self._vault = Vault(found, self._kek, self._previous)

    async def vault_for(self, sealed: Iterable[str]) -> Vault:
        """A vault that opens these: with the data keys that other managers have made meanwhile, if need be."""
        if not all(map(self.vault.knows, sealed)):
            self._vault = Vault(await _read(self._database), self._kek, self._previous)
        return self.vault


async def rotate_kek(at: DatabaseSettings, kek: bytes, previous: bytes) -> Rotated:
    """Wrap every data key with `kek`. UspError `vault.wrong_kek`, and nothing done, when one opens with neither."""
    async with _opened(at) as database:
        rewrapped = 0
        while pending := await _pending(database, kek, previous):
            for key in pending:
                rewrapped += await _replace(database, key, vault.rewrap(key, previous, kek))
        found = await _read(database)
        if found:
            Vault(found, kek)  # proof that the new one alone is enough
        return Rotated(rewrapped, len(found) - rewrapped)


async def rotate_data_key(
    at: DatabaseSettings, kek: bytes, previous: bytes | None, *, now: datetime, new_id: Callable[[], str]
) -> int:
    """A new data key for what will be sealed from now on; how many there are then. Older ones go on opening."""
    async with _opened(at) as database:
        found = await _read(database)
        if found:
            Vault(found, kek, previous)
        try:
            await _add_next(database, vault.new_key(kek, new_id()), now)
        except IntegrityError:
            raise UspError("catalog.conflict") from None
        return len(found) + 1


@asynccontextmanager
async def _opened(at: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(at)
    try:
        await check_schema(database)
        yield database
    finally:
        await database.close()


async def _pending(database: Database, kek: bytes, previous: bytes) -> list[WrappedKey]:
    """Those that are not yet wrapped with `kek`."""
    found = await _read(database)
    if found:
        Vault(found, kek, previous)  # before anything is changed: every one opens
    return [key for key in found if key.kek_id != vault.kek_id(kek)]


async def _read(database: Database) -> list[WrappedKey]:
    async with database.reading() as connection:
        rows = await connection.execute(select(keys.id, keys.kek_id, keys.wrapped).order_by(keys.place))
        return [WrappedKey(row.id, row.kek_id, row.wrapped) for row in rows]


async def _replace(database: Database, old: WrappedKey, new: WrappedKey) -> int:
    """1; 0 when somebody else has done it."""
    mine = update(schema.data_key).where(keys.id == old.id, keys.kek_id == old.kek_id)
    async with database.writing() as connection:
        done = await connection.execute(mine.values(kek_id=new.kek_id, wrapped=new.wrapped))
        return done.rowcount


async def _add(database: Database, key: WrappedKey, place: int, now: datetime) -> None:
    try:
        async with database.writing() as connection:
            await connection.execute(insert(schema.data_key).values(_row(key, place, now)))
    except IntegrityError:
        pass  # another manager was first: its key it is


async def _add_next(database: Database, key: WrappedKey, now: datetime) -> None:
    async with database.writing() as connection:
        places = await connection.execute(select(keys.place).order_by(keys.place.desc()))
        place = (places.scalars().first() or 0) + 1
        await connection.execute(insert(schema.data_key).values(_row(key, place, now)))


def _row(key: WrappedKey, place: int, now: datetime) -> dict[str, object]:
    return {"id": key.id, "place": place, "kek_id": key.kek_id, "wrapped": key.wrapped, "created_at": now}
