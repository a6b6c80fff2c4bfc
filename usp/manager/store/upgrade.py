"""Bringing a database's schema up to date, and checking that it is."""

from __future__ import annotations


async def upgrade(url: str) -> str:
    """Run the migrations that the database lacks (`usp-manager db upgrade`); the revision it is at then."""
    raise NotImplementedError


async def check(url: str) -> str:
    """The revision of the database, if it is the current one; UspError `database.schema` if not."""
    raise NotImplementedError
