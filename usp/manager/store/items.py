"""The catalog and its history."""

from __future__ import annotations

from datetime import datetime

from usp.manager.catalog import Catalog, Delta
from usp.manager.store.rows import HistoryEntry


class Items:
    async def read(self) -> Catalog:
        """The catalog as it is now. One cheap query when nothing changed since the last call."""
        raise NotImplementedError

    async def write(self, delta: Delta, *, author: str, at: datetime) -> Catalog:
        """Write all of it or nothing; UspError `catalog.conflict` when the catalog is no longer at `delta.base`."""
        raise NotImplementedError

    async def history(self, item_id: str) -> list[HistoryEntry]:
        """The revisions of an item (a deleted one too), newest first."""
        raise NotImplementedError
