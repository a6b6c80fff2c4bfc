"""The audit trail: only ever appended to."""

from __future__ import annotations

from usp.manager.store.rows import Event


class Events:
    async def add(self, event: Event) -> None:
        raise NotImplementedError

    async def page(self, *, before: int | None = None, limit: int = 100, action: str = "") -> list[Event]:
        """Newest first; `before` a number, for the next page; `action` a prefix such as `login.`."""
        raise NotImplementedError

    async def since(self, number: int, limit: int = 100) -> list[Event]:
        """Oldest first, those after `number`: for streams."""
        raise NotImplementedError
