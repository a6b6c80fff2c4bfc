"""Configuration versions: numbered per server, never rewritten, content sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from usp.errors import Problem
from usp.manager.store.rows import Pushable, Version
from usp.snapshot import Content
from usp.status import PushState


class Versions:
    async def add(
        self, server: str, content: Content, *, catalog_revision: int, author: str, at: datetime, comment: str = ""
    ) -> Version:
        """The next version of a server, and from now on its desired one. Its number is above all before and above what
        the server itself last reported. UspError `catalog.conflict` when another manager added one at this moment."""
        raise NotImplementedError

    async def get(self, server: str, number: int) -> Version:
        """UspError `version.not_found`."""
        raise NotImplementedError

    async def latest(self, server: str, push: PushState | None = None) -> Version | None:
        """The newest version, or the newest in that push state (APPLIED: what a restarted server falls back to)."""
        raise NotImplementedError

    async def page(self, server: str, *, before: int | None = None, limit: int = 100) -> list[Version]:
        """Newest first; `before` a number, for the next page."""
        raise NotImplementedError

    async def open(self, server: str, number: int) -> Pushable:
        """A version with its content, for pushing, comparing and rolling back."""
        raise NotImplementedError

    async def pushed(
        self,
        server: str,
        number: int,
        push: PushState,
        *,
        at: datetime,
        reason: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        """What became of a push."""
        raise NotImplementedError
