"""Failed logins, counted by subject (a user name, an address) over all managers; when a subject may try again.

An attempt is counted before the password is looked at, and given back when it was right: so that many attempts at once
cannot slip in between the question and the count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.rows import Lockout

FORGOTTEN: Final = timedelta(days=1)
"""So long after the last failure nothing is known of it."""

lockouts = schema.lockout.c
Penalty = Callable[[str, int], timedelta | None]
"""Subject and number of failures -> for how long it is locked out."""


class Lockouts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Lockout]:
        """The latest failure first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(schema.lockout).order_by(lockouts.failed_at.desc()))
            return [_lockout(row) for row in rows]

    async def count(self, subjects: Iterable[str], penalty: Penalty, *, now: datetime) -> list[Lockout]:
        """One more attempt of each subject; UspError auth.locked, and nothing counted, when one is locked out."""
        wanted = sorted(subjects)
        async with self._database.reading() as connection:  # a storm of those who are locked out writes nothing
            _refuse(await _read(connection, wanted), now)
        return await self._database.racing(lambda connection: _count(connection, wanted, penalty, now))

    async def give_back(self, subject: str, penalty: Penalty) -> None:
        """One attempt less. What others' failures have earned stays."""
        async with self._database.writing() as connection:
            found = (await _read(connection, [subject], lock=True)).get(subject)
            if found is None:
                return
            mine = update(schema.lockout).where(lockouts.subject == subject)
            left = found.failures - 1
            if left <= 0:
                await connection.execute(delete(schema.lockout).where(lockouts.subject == subject))
            elif penalty(subject, left) is None:
                await connection.execute(mine.values(failures=left, locked_until=None))
            else:
                await connection.execute(mine.values(failures=left))

    async def forget(self, subject: str) -> bool:
        """Whether there was anything to forget."""
        async with self._database.writing() as connection:
            done = await connection.execute(delete(schema.lockout).where(lockouts.subject == subject))
            return bool(done.rowcount)


async def _read(connection: AsyncConnection, subjects: Iterable[str], *, lock: bool = False) -> Mapping[str, Lockout]:
    """With `lock`, nobody else changes them until the transaction ends."""
    query = select(schema.lockout).where(lockouts.subject.in_(list(subjects))).order_by(lockouts.subject)
    rows = await connection.execute(query.with_for_update() if lock else query)
    return {row.subject: _lockout(row) for row in rows}


async def _count(connection: AsyncConnection, subjects: list[str], penalty: Penalty, now: datetime) -> list[Lockout]:
    await connection.execute(delete(schema.lockout).where(lockouts.failed_at < now - FORGOTTEN))
    known = await _read(connection, subjects, lock=True)
    _refuse(known, now)
    counted = []
    for subject in subjects:
        failures = known[subject].failures + 1 if subject in known else 1
        earned = penalty(subject, failures)
        made = Lockout(subject, failures, now, None if earned is None else now + earned)
        values = {"failures": made.failures, "failed_at": now, "locked_until": made.locked_until}
        if subject in known:
            await connection.execute(update(schema.lockout).where(lockouts.subject == subject).values(values))
        else:
            await connection.execute(insert(schema.lockout).values(subject=subject, **values))
        counted.append(made)
    return counted


def _refuse(known: Mapping[str, Lockout], now: datetime) -> None:
    left = max((found.left(now) for found in known.values()), default=timedelta())
    if left:
        seconds = math.ceil(left.total_seconds())
        raise UspError("auth.locked", f"too many failed logins; try again in {seconds} s", retry_after=seconds)


def _lockout(row: Row[Any]) -> Lockout:
    return Lockout(row.subject, row.failures, row.failed_at, row.locked_until)
