"""The history of an item: who changed what, and when, field by field. Secrets show only whether they changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from usp.errors import UspError
from usp.manager.catalog import Catalog
from usp.manager.diff import FieldChange
from usp.manager.kinds import model_of, references, secrets
from usp.manager.store import Store
from usp.manager.store.rows import HistoryEntry
from usp.model import Item


@dataclass(frozen=True, slots=True)
class Revision:
    """What one write did to an item. `changes`: its public fields; `secrets`: field -> whether it was changed."""

    item_id: str
    revision: int
    action: str  # create, update, delete
    name: str
    author: str
    at: datetime
    changes: tuple[FieldChange, ...]
    secrets: Mapping[str, bool]


class History:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(
        self, kind: str, key: str, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Revision], int | None]:
        """The revisions of an item (by id or name; a deleted one too), newest first, and where the next page begins."""
        model = model_of(kind)
        catalog = await self._store.items.read()
        record = catalog.find(kind, key)
        id = record.id if record else await self._store.items.gone(kind, key)
        if id is None:
            raise UspError("item.not_found", f"there is and was no {model.title} '{key}'", item_kind=kind, key=key)
        entries = await self._store.items.history(id, before=before, limit=limit + 1)
        pairs = list(zip_longest(entries, entries[1:]))[:limit]
        following = entries[limit - 1].revision if len(entries) > limit else None
        return [revision(catalog, model, entry, previous) for entry, previous in pairs], following


def revision(catalog: Catalog, model: type[Item], entry: HistoryEntry, previous: HistoryEntry | None) -> Revision:
    """`catalog` tells the names of what is referred to, as far as it is still there."""
    before = _named(catalog, model, (previous.document if previous else None) or {})
    after = _named(catalog, model, entry.document or {})
    gone = entry.document is None
    return Revision(
        item_id=entry.item_id,
        revision=entry.revision,
        action=entry.action,
        name=entry.name,
        author=entry.author,
        at=entry.at,
        changes=()
        if gone
        else tuple(
            FieldChange(name, before.get(name), after.get(name))
            for name in dict.fromkeys([*after, *before])
            if before.get(name) != after.get(name)
        ),
        secrets={} if gone else {name: name in entry.secrets for name in secrets(model)},
    )


def _named(catalog: Catalog, model: type[Item], document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with names in place of ids."""
    found = dict(document)
    for reference in references(model):
        value = found.get(reference.field)
        if value is not None:
            found[reference.field] = [_name(catalog, id) for id in value] if reference.many else _name(catalog, value)
    return found


def _name(catalog: Catalog, id: str) -> str:
    record = catalog.records.get(id)
    return record.item.name if record else id
