"""The catalog and its history.

A record is one row: its public fields as a JSON document, its secret ones sealed beside it, each bound to its row and
field. The catalog is kept in memory and brought up to date by what changed since, so that a read costs one small query.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import ValidationError
from sqlalchemy import Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.errors import UspError
from usp.manager.catalog import EMPTY, Catalog, Delta, changes_of
from usp.manager.kinds import model_of, secrets
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.events import insert_events
from usp.manager.store.keys import Keys
from usp.manager.store.rows import Event, HistoryEntry
from usp.manager.vault import Vault
from usp.model import Item, Record

THE_CATALOG: Final = 1
MANY: Final = 1000

items = schema.item.c
history = schema.item_revision.c


class Items:
    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._cached = EMPTY

    async def read(self) -> Catalog:
        """The catalog as it is now. One cheap query when nothing changed since the last call."""
        cached = self._cached
        async with self._database.reading() as connection:
            revision = (await connection.execute(select(schema.catalog.c.revision))).scalar_one()
            if revision == cached.revision:
                return cached
            if revision < cached.revision:  # an older database was put in place
                cached = EMPTY
            changed = await connection.execute(select(schema.item).where(items.revision > cached.revision))
            gone = await connection.execute(
                select(history.item_id).where(history.revision > cached.revision, history.action == "delete")
            )
        rows = changed.all()
        vault = await self._keys.vault_for(sealed for row in rows for sealed in (row.sealed or {}).values())
        records = dict(cached.records)
        records.update((row.id, _record(row, vault)) for row in rows)
        for id in gone.scalars():
            records.pop(id, None)
        self._cached = Catalog(revision, records)
        _settle(len(rows))
        return self._cached

    async def write(self, delta: Delta, *, author: str, at: datetime, events: Sequence[Event] = ()) -> Catalog:
        """Write all of it, with what goes into the audit trail, or nothing. UspError `catalog.conflict` when the
        catalog is no longer at `delta.base`."""
        if not delta:
            return await self.read()
        async with self._database.writing() as connection:
            await _advance(connection, delta)
            await _remove(connection, [*delta.deletes, *delta.updates])
            await _insert(connection, schema.item, map(self._row, delta.puts))
            await _insert(connection, schema.item_revision, _history(delta, author, at))
            await insert_events(connection, events)
        if self._cached.revision < delta.base:
            return await self.read()
        if self._cached.revision == delta.base:
            self._cached = self._cached.after(delta)
            _settle(len(delta.puts))
        return self._cached  # without asking: what is written must not be told as failed

    async def history(self, item_id: str, *, before: int | None = None, limit: int | None = None) -> list[HistoryEntry]:
        """The revisions of an item (a deleted one too), newest first; `before` a revision, for the next page."""
        query = select(schema.item_revision).where(history.item_id == item_id).order_by(history.revision.desc())
        query = query.limit(limit)
        if before is not None:
            query = query.where(history.revision < before)
        async with self._database.reading() as connection:
            return [_entry(row) for row in await connection.execute(query)]

    async def gone(self, kind: str, key: str) -> str | None:
        """The id of the item that had this id or name, deleted last of all that had."""
        query = (
            select(history.item_id)
            .where(history.kind == kind, history.action == "delete", or_(history.item_id == key, history.name == key))
            .order_by(history.revision.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            found: str | None = (await connection.execute(query)).scalar()
            return found

    def _row(self, record: Record) -> dict[str, Any]:
        return {
            "id": record.id,
            "kind": record.kind,
            "name": record.item.name,
            "revision": record.revision,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "document": document(record.item),
            "sealed": self._seal(record) or None,
            "facts": dict(record.facts) or None,
        }

    def _seal(self, record: Record) -> dict[str, str]:
        sealed = {}
        for name in secrets(type(record.item)):
            secret = getattr(record.item, name)
            if secret is not None:
                sealed[name] = self._keys.vault.seal(secret.reveal(), _place(record.id, name))
        return sealed


def _record(row: Row[Any], vault: Vault) -> Record:
    fields = dict(row.document)
    for name, sealed in (row.sealed or {}).items():
        fields[name] = vault.open(sealed, _place(row.id, name)).decode()
    try:
        item = model_of(row.kind).model_validate_json(orjson.dumps(fields))
    except (ValidationError, UspError):
        what = f"the stored item '{row.name}' of the {row.kind} does not fit this manager's model"
        raise UspError("database.schema", what, item_kind=row.kind, id=row.id) from None
    return Record(
        kind=row.kind,
        id=row.id,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        item=item,
        facts=row.facts or {},
    )


def _settle(records: int) -> None:
    """Records stay for long and form no cycles: with many of them, every full garbage collection would look at all of
    them, and stop the manager for a tenth of a second and more. What is there now is not looked at again."""
    if records >= MANY:
        gc.collect()
        gc.freeze()


def document(item: Item) -> dict[str, Any]:
    """The public fields of an item, as JSON values."""
    return item.model_dump(mode="json", exclude=set(secrets(type(item))))


def _place(id: str, field: str) -> str:
    return f"usp_item:{id}:{field}"


async def _advance(connection: AsyncConnection, delta: Delta) -> None:
    """Compare and set: the one step by which concurrent writers are told apart."""
    catalog = schema.catalog
    statement = update(catalog).where(catalog.c.id == THE_CATALOG, catalog.c.revision == delta.base)
    done = await connection.execute(statement.values(revision=delta.revision))
    if done.rowcount != 1:
        raise UspError("catalog.conflict", base=delta.base)


async def _remove(connection: AsyncConnection, records: Iterable[Record]) -> None:
    """Updated items go too and come back: so names may be swapped between them."""
    ids = [{"gone": record.id} for record in records]
    if ids:
        await connection.execute(delete(schema.item).where(items.id == bindparam("gone")), ids)


async def _insert(connection: AsyncConnection, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    values = list(rows)
    if values:
        await connection.execute(insert(table), values)


def _history(delta: Delta, author: str, at: datetime) -> Iterable[dict[str, Any]]:
    for action, record in changes_of(delta):
        gone = action == "delete"
        yield {
            "item_id": record.id,
            "revision": delta.revision,
            "kind": record.kind,
            "name": record.item.name,
            "action": action,
            "author": author,
            "made_at": at,
            "document": None if gone else document(record.item),
            "secrets": None if gone else changed_secrets(delta.before.get(record.id), record),
        }


def changed_secrets(before: Record | None, after: Record) -> list[str]:
    """Names of the secret fields that differ."""
    names = secrets(type(after.item))
    return [name for name in names if getattr(before.item if before else None, name, None) != getattr(after.item, name)]


def _entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        item_id=row.item_id,
        kind=row.kind,
        name=row.name,
        revision=row.revision,
        action=row.action,
        author=row.author,
        at=row.made_at,
        document=row.document,
        secrets=tuple(row.secrets or ()),
    )
